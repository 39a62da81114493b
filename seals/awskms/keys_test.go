//go:build unix

package awskms_test

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/localstack"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/awskms"
)

// id returns the last part of an ARN.
func id(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// TestNamesOfOneKey: id, ARN, alias and alias ARN of a key have one canonical name, and each
// decrypts what another encrypted.
func TestNamesOfOneKey(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	key := s.CreateKey(t)
	s.Must(t, "CreateAlias", map[string]any{"AliasName": "alias/names", "TargetKeyId": key})
	aliasARN := key[:strings.LastIndex(key, ":")] + ":alias/names"
	names := []string{key, id(key), "alias/names", aliasARN}
	for _, from := range names {
		blob, err := open(t, "kms_key_id", from, "endpoint", p.URL).Encrypt(t.Context(), []byte("root"))
		must(t, err)
		for _, to := range names {
			w := open(t, "kms_key_id", to, "endpoint", p.URL)
			if got, err := w.Decrypt(t.Context(), blob); err != nil || string(got) != "root" {
				t.Errorf("encrypted by %s, decrypted by %s: %q, %v", from, to, got, err)
			}
			if call, err := p.Last("Decrypt"); err != nil || call.Body["KeyId"] != key {
				t.Errorf("decrypted by %s with key %v, %v", to, call.Body["KeyId"], err)
			}
			if got, err := w.KeyId(t.Context()); err != nil || got != key {
				t.Errorf("KeyId by %s: %q, %v", to, got, err)
			}
		}
	}
}

// TestAliasIsMoved: after an alias is moved to a new key, old blobs decrypt, new blobs are of the
// new key, and KeyId returns the new key.
func TestAliasIsMoved(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	first, second := s.CreateKey(t), s.CreateKey(t)
	s.Must(t, "CreateAlias", map[string]any{"AliasName": "alias/moved", "TargetKeyId": first})
	w := open(t, "kms_key_id", "alias/moved", "endpoint", p.URL)
	blob, err := w.Encrypt(t.Context(), []byte("root"))
	must(t, err)
	s.Must(t, "UpdateAlias", map[string]any{"AliasName": "alias/moved", "TargetKeyId": id(second)})
	for _, w := range []*awskms.Wrapper{w, open(t, "kms_key_id", "alias/moved", "endpoint", p.URL)} {
		if got, err := w.Decrypt(t.Context(), blob); err != nil || string(got) != "root" {
			t.Errorf("a blob of the old key: %q, %v", got, err)
		}
		if state, err := w.Describe(t.Context()); err != nil || state.ID != second ||
			state.Detail["alias"] != "alias/moved" {
			t.Errorf("Describe: %+v, %v", state, err)
		}
		if got, err := w.KeyId(t.Context()); err != nil || got != second {
			t.Errorf("KeyId: %q, %v", got, err)
		}
		fresh, err := w.Encrypt(t.Context(), []byte("root"))
		if err != nil || fresh.KeyInfo.KeyId != second {
			t.Errorf("a new blob is of %v, %v", fresh, err)
		}
	}
	calls := p.Calls("")
	for range 5 {
		_, err := w.Decrypt(t.Context(), blob)
		must(t, err)
	}
	if n := p.Calls("") - calls; n != 5 {
		t.Errorf("5 decryptions by an alias cost %d calls", n)
	}
}

// TestReplica: a blob of a multi-Region key decrypts with its replica in another region, by the
// replica's own ARN.
func TestReplica(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	p := localstack.NewProxy(t, s)
	primary, replica := s.CreateMultiRegionKey(t, "us-west-2")
	blob, err := open(t, "kms_key_id", primary, "endpoint", p.URL).Encrypt(t.Context(), []byte("root"))
	must(t, err)
	for _, name := range []string{primary, replica} { // the region of the stanza counts, not that of the ARN
		w := open(t, "kms_key_id", name, "region", "us-west-2", "endpoint", p.URL)
		got, err := w.Decrypt(t.Context(), blob)
		call, cerr := p.Last("Decrypt")
		must(t, cerr)
		if err != nil || string(got) != "root" || call.Region != "us-west-2" || call.Body["KeyId"] != replica {
			t.Errorf("%q, %v; asked in %s for %v", got, err, call.Region, call.Body["KeyId"])
		}
	}
}

// TestUnusableKeys: keys that do not exist, and keys for other purposes.
func TestUnusableKeys(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	made := s.Must(t, "CreateKey", map[string]any{"KeyUsage": "GENERATE_VERIFY_MAC", "KeySpec": "HMAC_256"})
	sign := made["KeyMetadata"].(map[string]any)["Arn"].(string)
	key := s.CreateKey(t)
	for name, class := range map[string]seals.Class{
		"alias/nothing": seals.KeyGone, sign: seals.Misconfigured, key[:len(key)-12] + "000000000000": seals.KeyGone,
	} {
		w := open(t, "kms_key_id", name, "endpoint", s.URL)
		if _, err := w.Encrypt(t.Context(), []byte("root")); seals.ClassOf(err) != class {
			t.Errorf("%s: %v; want %s", name, err, class)
		}
	}
	state, err := open(t, "kms_key_id", sign, "endpoint", s.URL).Describe(t.Context())
	if err != nil || !strings.Contains(state.Detail["problem"], "HMAC_256") {
		t.Errorf("%+v, %v", state, err)
	}
}
