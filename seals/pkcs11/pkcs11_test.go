package pkcs11_test

import (
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a wrapper of a stanza on the token; more are further parameters, in pairs.
func open(t testing.TB, tok *softhsm.Token, more ...string) *pkcs11.Wrapper {
	t.Helper()
	params := map[string]string{"lib": tok.Lib, "token_label": tok.Label, "pin": tok.PIN}
	for i := 0; i < len(more); i += 2 {
		params[more[i]] = more[i+1]
	}
	w, err := pkcs11.New(seals.Config{Name: "test", Type: "pkcs11", Params: params, Getenv: none})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.(*pkcs11.Wrapper).Close(); err != nil {
			t.Error(err)
		}
	})
	return w.(*pkcs11.Wrapper)
}

func none(string) string { return "" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// without is why a fixture on SoftHSM lacks hooks.
var without = map[string]string{
	"Unresponsive": "SoftHSM always answers; package hsm tests this with a token that does not",
	"Schedule":     "PKCS #11 destroys objects at once", "Unschedule": "PKCS #11 destroys objects at once",
	"Rotate": "keys on a token have no versions",
	"Deny":   "a token knows one user",
	"Expire": "a PIN does not expire", "Renew": "a PIN does not expire",
	"Throttle": "SoftHSM has sessions without limit; package hsm tests this with a token that has not",
	"Garble":   "SoftHSM is in this process",
	"Calls":    "calls to SoftHSM are in this process, and free",
}

// also: a token that was taken out may as well have been deleted.
var also = map[string]seals.Class{"Away": seals.KeyGone}

// hooks are what can be done to every fixture on SoftHSM.
func hooks(t *testing.T, tok *softhsm.Token, f *sealtest.Fixture) *sealtest.Fixture {
	f.Away = func() func() {
		must(t, tok.Away())
		return func() { must(t, tok.Back()) }
	}
	return f
}

func TestConformsWithGCM(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
		tok := softhsm.New(t)
		tok.Key(t, hsm.AES256, "wrap")
		tok.Key(t, hsm.AES256, "other")
		return hooks(t, tok, &sealtest.Fixture{
			Wrapper: open(t, tok, "key_label", "wrap"),
			Other:   open(t, tok, "key_label", "other"),
			Again:   func() wrapping.Wrapper { return open(t, tok, "key_label", "wrap", "mechanism", "CKM_AES_GCM") },
			Disable: func() { must(t, tok.Permit("wrap", false)) },
			Enable:  func() { must(t, tok.Permit("wrap", true)) },
			Destroy: func() { must(t, tok.Delete("wrap")) },
		})
	}, Without: without, Also: also})
}

func TestConformsWithCBCAndHMAC(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
		tok := softhsm.New(t)
		for _, name := range []string{"wrap", "other"} {
			tok.Key(t, hsm.AES256, name)
			tok.Key(t, hsm.HMAC256, name+"-mac")
		}
		cbc := func(name string) *pkcs11.Wrapper {
			return open(t, tok, "key_label", name, "hmac_key_label", name+"-mac", "mechanism", "CKM_AES_CBC_PAD")
		}
		return hooks(t, tok, &sealtest.Fixture{
			Wrapper: cbc("wrap"), Other: cbc("other"), Again: func() wrapping.Wrapper { return cbc("wrap") },
			Disable: func() { must(t, tok.Permit("wrap", false)) },
			Enable:  func() { must(t, tok.Permit("wrap", true)) },
			Destroy: func() { must(t, tok.Delete("wrap")) },
		})
	}, Without: without, Also: also})
}

func TestConformsWithOAEP(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.RSA3072, "wrap")
	tok.Key(t, hsm.RSA3072, "other")
	sealtest.Run(t, sealtest.Harness{Stride: 7, New: func(t *testing.T) *sealtest.Fixture {
		return hooks(t, tok, &sealtest.Fixture{
			// In software a public key encrypts whether the token is there or not.
			Wrapper: open(t, tok, "key_label", "wrap", "rsa_oaep_hash", "sha1", "disable_software_encryption", "true"),
			Other:   open(t, tok, "key_label", "other", "rsa_oaep_hash", "sha1"),
			Again: func() wrapping.Wrapper {
				return open(t, tok, "key_label", "wrap", "rsa_oaep_hash", "sha1")
			},
			Disable: func() { must(t, tok.Permit("wrap", false)) },
			Enable:  func() { must(t, tok.Permit("wrap", true)) },
			Destroy: func() { must(t, tok.Delete("wrap")) },
		})
	}, Without: without, Also: also})
}

func TestConformsWithOAEPAndHMAC(t *testing.T) {
	tok := softhsm.New(t)
	for _, name := range []string{"wrap", "other"} {
		tok.Key(t, hsm.RSA3072, name)
		tok.Key(t, hsm.HMAC256, name+"-mac")
	}
	oaep := func(name string, more ...string) *pkcs11.Wrapper {
		return open(t, tok, append([]string{"key_label", name, "hmac_key_label", name + "-mac", "rsa_oaep_hash", "sha1"},
			more...)...)
	}
	sealtest.Run(t, sealtest.Harness{Stride: 23, New: func(t *testing.T) *sealtest.Fixture {
		return hooks(t, tok, &sealtest.Fixture{
			Wrapper: oaep("wrap", "disable_software_encryption", "true"), Other: oaep("other"),
			Again:   func() wrapping.Wrapper { return oaep("wrap") },
			Disable: func() { must(t, tok.Permit("wrap", false)) },
			Enable:  func() { must(t, tok.Permit("wrap", true)) },
			Destroy: func() { must(t, tok.Delete("wrap")) },
		})
	}, Without: without, Also: also})
}

// TestPublicKeyAloneMakesNoRecord: what was made without the HMAC key is refused with it, and the
// other way round; a MAC of another length or another blob's is refused too.
func TestPublicKeyAloneMakesNoRecord(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.RSA3072, "wrap")
	tok.Key(t, hsm.HMAC256, "mac")
	public := open(t, tok, "key_label", "wrap", "rsa_oaep_hash", "sha1")
	private := open(t, tok, "key_label", "wrap", "rsa_oaep_hash", "sha1", "hmac_key_label", "mac")
	upgrade := open(t, tok, "key_label", "wrap", "rsa_oaep_hash", "sha1", "hmac_key_label", "mac",
		"accept_unauthenticated", "true")
	aad := wrapping.WithAad([]byte("cluster"))
	wrap := func(w *pkcs11.Wrapper, text string) *wrapping.BlobInfo {
		t.Helper()
		blob, err := w.Encrypt(t.Context(), []byte(text), aad)
		must(t, err)
		return blob
	}
	refused := func(what string, w *pkcs11.Wrapper, blob *wrapping.BlobInfo, class seals.Class) {
		t.Helper()
		if plain, err := w.Decrypt(t.Context(), blob, aad); seals.ClassOf(err) != class || plain != nil {
			t.Errorf("%s: %q, %v; want %s", what, plain, err, class)
		}
	}
	forged, own, other := wrap(public, "mallory"), wrap(private, "root"), wrap(private, "older")
	refused("made with the public key alone", private, forged, seals.Corrupt)
	refused("the HMAC key is not configured", public, own, seals.Misconfigured)
	mac := own.Hmac
	for what, m := range map[string][]byte{"another blob's MAC": other.Hmac, "a shorter MAC": mac[:31], "no MAC": nil} {
		own.Hmac = m
		refused(what, private, own, seals.Corrupt)
	}
	own.Hmac = mac
	for _, w := range []*pkcs11.Wrapper{private, upgrade} {
		if plain, err := w.Decrypt(t.Context(), own, aad); err != nil || string(plain) != "root" {
			t.Errorf("its own: %q, %v", plain, err)
		}
	}
	if plain, err := upgrade.Decrypt(t.Context(), forged, aad); err != nil || string(plain) != "mallory" {
		t.Errorf("accept_unauthenticated: %q, %v", plain, err)
	}
	for name, c := range map[string]struct {
		w    *pkcs11.Wrapper
		want string
	}{
		"without": {public, "hmac_key_label"}, "with": {private, ""},
		"while upgrading with": {upgrade, "accept_unauthenticated"},
	} {
		if got := c.w.WrapsPublicly(); got == "" != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("WrapsPublicly %s an HMAC key: %q", name, got)
		}
	}
}
