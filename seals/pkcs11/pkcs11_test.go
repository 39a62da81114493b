package pkcs11_test

import (
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
