//go:build cgo && !windows

package hsm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// deviceToken opens a SoftHSM token for operations on its keys.
func deviceToken(t *testing.T) *hsm.Token {
	t.Helper()
	cfg := softhsm.New(t).Config()
	cfg.Deadline = time.Minute // an RSA key takes seconds
	return open(t, cfg)
}

func deviceKey(t *testing.T, token *hsm.Token, label string) *hsm.DeviceKey {
	t.Helper()
	k, err := token.DeviceKey(label, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func generate(t *testing.T, token *hsm.Token, k hsm.Template) *hsm.DeviceKey {
	t.Helper()
	if err := token.Generate(t.Context(), k); err != nil {
		t.Fatalf("%s: %v", k.Kind, err)
	}
	return deviceKey(t, token, k.Label)
}

func TestDeviceKeyOfEveryKind(t *testing.T) {
	token := deviceToken(t)
	for kind, want := range map[hsm.Kind]struct {
		typ  hsm.KeyType
		bits int
	}{
		hsm.AES128: {hsm.TypeAES, 128}, hsm.AES256: {hsm.TypeAES, 256}, hsm.HMAC256: {hsm.TypeHMAC, 256},
		hsm.RSA2048: {hsm.TypeRSA, 2048}, hsm.ECP256: {hsm.TypeEC, 0}, hsm.ECP384: {hsm.TypeEC, 0},
		hsm.ECP521: {hsm.TypeEC, 0},
	} {
		k := generate(t, token, hsm.Template{Kind: kind, Label: kind.String()})
		info, err := k.Describe(t.Context())
		if err != nil || info.Type != want.typ || info.Bits != want.bits || !info.Protection.Kept() ||
			info.Protection.Local == nil || !*info.Protection.Local {
			t.Errorf("%s: %+v, %v", kind, info, err)
		}
		if secret := want.typ == hsm.TypeAES || want.typ == hsm.TypeHMAC; secret != (info.Public == nil) {
			t.Errorf("%s: its public half is %v", kind, info.Public)
		}
	}
}

func TestDeviceAESGCM(t *testing.T) {
	k := generate(t, deviceToken(t), hsm.Template{Kind: hsm.AES256, Label: "aes"})
	plain, aad := []byte("a value of some length"), []byte("context")
	iv, ct, err := k.EncryptGCM(t.Context(), plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.DecryptGCM(t.Context(), iv, ct, aad); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	for name, c := range map[string]struct{ iv, ct, aad []byte }{
		"other additional data": {iv, ct, []byte("other")},
		"altered ciphertext":    {iv, append([]byte{ct[0] ^ 1}, ct[1:]...), aad},
		"altered IV":            {append([]byte{iv[0] ^ 1}, iv[1:]...), ct, aad},
	} {
		if _, err := k.DecryptGCM(t.Context(), c.iv, c.ct, c.aad); !errors.Is(err, hsm.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	if _, err := k.DecryptGCM(t.Context(), iv[:4], ct, aad); !errors.Is(err, hsm.ErrFormat) {
		t.Errorf("short IV: %v", err)
	}
	if _, err := k.MAC(t.Context(), plain, crypto.SHA256); !errors.Is(err, hsm.ErrKeyType) {
		t.Errorf("an HMAC by an AES key: %v", err)
	}
}

func TestDeviceRSA(t *testing.T) {
	k := generate(t, deviceToken(t), hsm.Template{Kind: hsm.RSA2048, Label: "rsa", Sign: true})
	info, err := k.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	public := info.Public.(*rsa.PublicKey)
	block, err := rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, public, []byte("value"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.DecryptRSA(t.Context(), block, crypto.SHA1); err != nil || string(got) != "value" {
		t.Errorf("OAEP: %q, %v", got, err)
	}
	block[5] ^= 1
	if _, err := k.DecryptRSA(t.Context(), block, crypto.SHA1); !errors.Is(err, hsm.ErrCorrupt) {
		t.Errorf("an altered block: %v, want ErrCorrupt", err)
	}
	digest := sha256.Sum256([]byte("message"))
	sig, err := k.SignDigest(t.Context(), digest[:], crypto.SHA256)
	if err != nil || rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], sig) != nil {
		t.Errorf("PKCS #1 v1.5: %v", err)
	}
	for _, salt := range []int{rsa.PSSSaltLengthEqualsHash, rsa.PSSSaltLengthAuto, 20} {
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
		sig, err := k.SignDigest(t.Context(), digest[:], opts)
		if err != nil || rsa.VerifyPSS(public, crypto.SHA256, digest[:], sig, opts) != nil {
			t.Errorf("PSS with salt %d: %v", salt, err)
		}
	}
	if _, err := k.SignDigest(t.Context(), digest[:31], crypto.SHA256); !errors.Is(err, hsm.ErrFormat) {
		t.Errorf("a short digest: %v", err)
	}
}

func TestDeviceECDSA(t *testing.T) {
	token := deviceToken(t)
	for _, kind := range []hsm.Kind{hsm.ECP256, hsm.ECP384, hsm.ECP521} {
		k := generate(t, token, hsm.Template{Kind: kind, Label: kind.String()})
		info, err := k.Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		digest := sha512.Sum512([]byte("message"))
		sig, err := k.SignDigest(t.Context(), digest[:], crypto.SHA512)
		if err != nil || !ecdsa.VerifyASN1(info.Public.(*ecdsa.PublicKey), digest[:], sig) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, _, err := k.EncryptGCM(t.Context(), []byte("x"), nil); !errors.Is(err, hsm.ErrKeyType) {
			t.Errorf("%s: AES-GCM: %v", kind, err)
		}
	}
}

func TestImportedKeys(t *testing.T) {
	token := deviceToken(t)
	raw := bytes.Repeat([]byte{7}, 32)
	if err := token.Import(t.Context(), hsm.Template{Kind: hsm.HMAC256, Label: "mac"}, hsm.NewSecret(raw)); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte("input"))
	if got, err := deviceKey(t, token, "mac").MAC(t.Context(), []byte("input"), crypto.SHA256); err != nil ||
		!hmac.Equal(got, mac.Sum(nil)) {
		t.Errorf("HMAC: %x, %v", got, err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	for label, c := range map[string]struct {
		kind   hsm.Kind
		key    crypto.Signer
		verify func(sig []byte) bool
	}{
		"rsa": {hsm.RSA2048, rsaKey, func(sig []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], sig) == nil
		}},
		"ec": {hsm.ECP384, ecKey, func(sig []byte) bool { return ecdsa.VerifyASN1(&ecKey.PublicKey, digest[:], sig) }},
	} {
		der, err := x509.MarshalPKCS8PrivateKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		template := hsm.Template{Kind: c.kind, Label: label, Sign: true}
		if err := token.Import(t.Context(), template, hsm.NewSecret(der)); err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		k := deviceKey(t, token, label)
		sig, err := k.SignDigest(t.Context(), digest[:], crypto.SHA256)
		if err != nil || !c.verify(sig) {
			t.Errorf("%s: signature: %v", label, err)
		}
		info, err := k.Describe(t.Context())
		if err != nil || !info.Protection.Kept() || info.Protection.Local == nil || *info.Protection.Local {
			t.Errorf("%s: %+v, %v; want a kept key that is not local", label, info.Protection, err)
		}
		if err := token.Import(t.Context(), template, hsm.NewSecret(der)); !errors.Is(err, hsm.ErrKeyExists) {
			t.Errorf("%s, again: %v", label, err)
		}
	}
}

func TestImportRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	token, err := hsm.New(hsm.Config{Lib: "/no/lib.so", TokenLabel: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	for name, c := range map[string]struct {
		kind hsm.Kind
		key  []byte
	}{
		"a short AES key":        {hsm.AES256, make([]byte, 16)},
		"another curve":          {hsm.ECP384, der},
		"another algorithm":      {hsm.RSA2048, der},
		"no PKCS #8":             {hsm.ECP256, der[1:]},
		"a kind that is unknown": {hsm.Kind(99), der},
	} {
		if err := token.Import(t.Context(), hsm.Template{Kind: c.kind, Label: "k"},
			hsm.NewSecret(c.key)); !errors.Is(err, hsm.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}
