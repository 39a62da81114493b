//go:build cgo && !windows

package pkcs11_test

import (
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

const newID = "00112233445566778899aabbccddeeff"

// TestKeyIsReplaced: a seal that selects its key by the label makes another with the same label,
// opens what either made, encrypts by the one that it follows, and destroys the old one alone.
func TestKeyIsReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		kind   hsm.Kind
		hmac   bool
		params []string
	}{
		"AES-GCM":   {kind: hsm.AES256},
		"RSA alone": {kind: hsm.RSA3072, params: []string{"rsa_oaep_hash", "sha1"}},
		"AES-CBC": {kind: hsm.AES256, hmac: true,
			params: []string{"mechanism", "CKM_AES_CBC_PAD", "hmac_key_label", "mac"}},
		"RSA": {kind: hsm.RSA3072, hmac: true,
			params: []string{"rsa_oaep_hash", "sha1", "hmac_key_label", "mac", "disable_software_encryption", "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			tok := softhsm.New(t)
			tok.Key(t, c.kind, "wrap")
			if c.hmac {
				tok.Key(t, hsm.HMAC256, "mac")
			}
			params := append([]string{"key_label", "wrap"}, c.params...)
			w := open(t, tok, params...)
			old := wrap(t, w)
			w.FollowKey(old)
			for range 2 { // the second finds it
				must(t, w.MakeKey(t.Context(), newID))
			}
			if again := wrap(t, w); again.KeyInfo.KeyId != old.KeyInfo.KeyId {
				t.Fatalf("a key that is not followed yet encrypts: %s", again.KeyInfo.KeyId)
			}
			candidate, err := w.UseKey(newID)
			must(t, err)
			next := wrap(t, candidate)
			_, id := pkcs11.URIParts(next.KeyInfo.KeyId)
			_, mac := pkcs11.URIParts(next.KeyInfo.HmacKeyId)
			if id != newID || c.hmac != (mac == newID) {
				t.Fatalf("the new key is %s, its HMAC key %s", next.KeyInfo.KeyId, next.KeyInfo.HmacKeyId)
			}
			fresh := open(t, tok, params...) // as after a restart
			unwraps(t, fresh, old)
			unwraps(t, fresh, next)
			if _, err := fresh.Encrypt(t.Context(), []byte("root")); seals.ClassOf(err) != seals.Misconfigured {
				t.Errorf("with two keys and no record: %v; want an ambiguous key", err)
			}
			fresh.FollowKey(next)
			if by := wrap(t, fresh); by.KeyInfo.KeyId != next.KeyInfo.KeyId {
				t.Errorf("encrypts by %s", by.KeyInfo.KeyId)
			}
			if _, err := fresh.DestroyKey(t.Context(), next.KeyInfo, ""); err == nil {
				t.Fatal("the key in use was destroyed")
			}
			for range 2 {
				done, err := fresh.DestroyKey(t.Context(), old.KeyInfo, "")
				if err != nil || done != "destroyed" {
					t.Fatal(done, err)
				}
			}
			unwraps(t, fresh, next)
			if _, err := fresh.Decrypt(t.Context(), old); seals.ClassOf(err) != seals.WrongKey {
				t.Errorf("with the destroyed key: %v", err)
			}
			unwraps(t, open(t, tok, params...), wrap(t, open(t, tok, params...))) // one key is left
		})
	}
}

// TestPinnedKeyIsNotReplaced: a stanza that names the id of its key keeps that key.
func TestPinnedKeyIsNotReplaced(t *testing.T) {
	tok := softhsm.New(t)
	w := open(t, tok, "key_label", "gcm", "key_id", "0a0b", "generate_key", "true")
	blob := wrap(t, w)
	w.FollowKey(blob)
	_, err := w.UseKey(newID)
	for _, err := range []error{err, w.MakeKey(t.Context(), newID)} {
		if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), "key_label alone") {
			t.Error(err)
		}
	}
	if _, err := w.DestroyKey(t.Context(), blob.KeyInfo, ""); err == nil {
		t.Error("the only key was destroyed")
	}
}

// TestLostKeyIsReplacedByHand: where the followed key is gone, a new one under the same name wraps.
func TestLostKeyIsReplacedByHand(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	w := open(t, tok, "key_label", "wrap")
	w.FollowKey(wrap(t, w))
	must(t, tok.Delete("wrap"))
	if _, err := w.Encrypt(t.Context(), []byte("root")); seals.ClassOf(err) != seals.KeyGone {
		t.Fatal(err)
	}
	tok.Key(t, hsm.AES256, "wrap")
	unwraps(t, w, wrap(t, w))
}

func wrap(t *testing.T, w wrapping.Wrapper) *wrapping.BlobInfo {
	t.Helper()
	blob, err := w.Encrypt(t.Context(), []byte("root"), wrapping.WithAad([]byte("a")))
	must(t, err)
	return blob
}

func unwraps(t *testing.T, w wrapping.Wrapper, blob *wrapping.BlobInfo) {
	t.Helper()
	plain, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("a")))
	if err != nil || string(plain) != "root" {
		t.Fatalf("%q, %v", plain, err)
	}
}
