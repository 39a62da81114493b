//go:build cgo && !windows

package hsm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/secret"
)

func open(t *testing.T, cfg hsm.Config) *hsm.Token {
	t.Helper()
	token, err := hsm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

func keyOf(t *testing.T, token *hsm.Token, spec hsm.KeySpec) *hsm.Key {
	t.Helper()
	k, err := token.Key(spec)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trip(ctx context.Context, k *hsm.Key) error {
	sealed, err := k.Encrypt(ctx, []byte("value"), []byte("aad"))
	if err != nil {
		return err
	}
	plain, err := k.Decrypt(ctx, sealed, []byte("aad"))
	if err == nil && string(plain) != "value" {
		return errors.New("other bytes")
	}
	return err
}

// sha1 is the only hash for OAEP that SoftHSM has (CKM_SHA_1).
const sha1 = 0x220

// TestSHA1IsSelectedByName: a token without a better hash for OAEP needs it by name to encrypt, and
// decrypts what it encrypted before that was so.
func TestSHA1IsSelectedByName(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.RSA3072, "rsa")
	token := open(t, tok.Config())
	named, unnamed := keyOf(t, token, hsm.KeySpec{Label: "rsa", OAEPHash: sha1}),
		keyOf(t, token, hsm.KeySpec{Label: "rsa"})
	sealed, err := named.Encrypt(t.Context(), []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := unnamed.Decrypt(t.Context(), sealed, nil); err != nil || string(plain) != "secret" {
		t.Errorf("decrypted %q, %v", plain, err)
	}
	for range 2 {
		if _, err := unnamed.Encrypt(t.Context(), []byte("secret"), nil); !errors.Is(err, hsm.ErrMechanism) ||
			!strings.Contains(err.Error(), `rsa_oaep_hash = "sha1"`) {
			t.Errorf("encrypted without its name: %v", err)
		}
	}
}

func TestEveryMechanismOnSoftHSM(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "aes")
	tok.Key(t, hsm.HMAC256, "mac")
	tok.Key(t, hsm.RSA3072, "rsa")
	token := open(t, tok.Config())
	for name, spec := range map[string]hsm.KeySpec{
		"chosen for AES":    {Label: "aes"},
		"GCM":               {Label: "aes", Mechanism: hsm.AESGCM},
		"CBC and HMAC":      {Label: "aes", Mechanism: hsm.AESCBCPad, HMACLabel: "mac"},
		"chosen for RSA":    {Label: "rsa", OAEPHash: sha1},
		"OAEP on the token": {Label: "rsa", Mechanism: hsm.RSAOAEP, OAEPHash: sha1, OAEPOnToken: true},
	} {
		k := keyOf(t, token, spec)
		for _, size := range []int{1, 15, 16, 17, 32, 1000, hsm.MaxPlaintext} {
			plain := make([]byte, size)
			sealed, err := k.Encrypt(t.Context(), plain, []byte("aad"))
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", name, size, err)
			}
			if got, err := k.Decrypt(t.Context(), sealed, []byte("aad")); err != nil || len(got) != size {
				t.Fatalf("%s, %d bytes: %d, %v", name, size, len(got), err)
			}
			for _, aad := range []string{"", "aax", "aadd"} {
				if _, err := k.Decrypt(t.Context(), sealed, []byte(aad)); !errors.Is(err, hsm.ErrCorrupt) {
					t.Errorf("%s with additional data %q: %v, want ErrCorrupt", name, aad, err)
				}
			}
		}
		info, err := k.Describe(t.Context())
		if err != nil || !info.Protection.Kept() || !strings.Contains(info.URI,
			"serial="+tok.Serial+";object="+spec.Label+";id=%") {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	if s := token.Stats(); s.Logins != 1 || s.Attached != 1 || s.Stuck != 0 {
		t.Errorf("%+v: corrupt data were taken for a broken device", s)
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "aes")
	tok.Key(t, hsm.AES256, "twin")
	tok.Key(t, hsm.AES256, "twin")
	tok.Key(t, hsm.HMAC256, "mac")
	tok.Key(t, hsm.RSA3072, "rsa")
	tok.Key(t, hsm.AES256, "off")
	if err := tok.Permit("off", false); err != nil {
		t.Fatal(err)
	}
	token := open(t, tok.Config())
	for _, c := range []struct {
		name string
		spec hsm.KeySpec
		want error
		text string
	}{
		{"missing", hsm.KeySpec{Label: "nope"}, hsm.ErrKeyNotFound, `"nope"`},
		{"missing id", hsm.KeySpec{Label: "aes", ID: []byte{9}}, hsm.ErrKeyNotFound, "id 09"},
		{"two", hsm.KeySpec{Label: "twin"}, hsm.ErrAmbiguousKey, "2 keys"},
		{"an HMAC key to encrypt with", hsm.KeySpec{Label: "mac"}, hsm.ErrKeyType, "a generic secret"},
		{"RSA for GCM", hsm.KeySpec{Label: "rsa", Mechanism: hsm.AESGCM}, hsm.ErrKeyType, "not to an AES key"},
		{"AES for OAEP", hsm.KeySpec{Label: "aes", Mechanism: hsm.RSAOAEP}, hsm.ErrKeyType, "an AES key"},
		{"not allowed", hsm.KeySpec{Label: "off"}, hsm.ErrKeyUse, "CKA_DECRYPT=false"},
		{"no HMAC key", hsm.KeySpec{Label: "aes", Mechanism: hsm.AESCBCPad, HMACLabel: "nope"}, hsm.ErrKeyNotFound,
			"HMAC"},
		{"OAEP hash that SoftHSM has not", hsm.KeySpec{Label: "rsa", OAEPHash: 0x250}, hsm.ErrMechanism, "CKM_SHA256"},
	} {
		err := trip(t.Context(), keyOf(t, token, c.spec))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %v with %q", c.name, err, c.want, c.text)
		}
	}
}

func TestFilesThatAreNotLibraries(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("not a library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, _ := filepath.Glob("/lib/*-linux-gnu*/libdl.so.2")
	cases := map[string]string{
		filepath.Join(dir, "none.so"): "does not exist", dir: "is a directory", text: "", "no-such-name.so": "",
	}
	if len(other) > 0 {
		cases[other[0]] = "C_GetFunctionList"
	}
	for path, want := range cases {
		token := open(t, hsm.Config{Lib: path, TokenLabel: "x"})
		_, err := token.Info(t.Context())
		if !errors.Is(err, hsm.ErrNotLibrary) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTokenGoneAndBack(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	token := open(t, tok.Config())
	k := keyOf(t, token, hsm.KeySpec{Label: "wrap"})
	if err := trip(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := tok.Away(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := trip(t.Context(), k); !errors.Is(err, hsm.ErrTokenGone) {
				t.Errorf("while away: %v, want ErrTokenGone", err)
			}
			if _, err := k.Describe(t.Context()); !errors.Is(err, hsm.ErrTokenGone) {
				t.Errorf("while away: %v, want ErrTokenGone", err)
			}
		}
		if err := tok.Back(); err != nil {
			t.Fatal(err)
		}
		if err := trip(t.Context(), k); err != nil {
			t.Fatalf("the first call after its return: %v", err)
		}
	}
}

func TestTokenThatAppearsLater(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	if err := tok.Away(); err != nil {
		t.Fatal(err)
	}
	token := open(t, tok.Config())
	k := keyOf(t, token, hsm.KeySpec{Label: "wrap"})
	if err := trip(t.Context(), k); !errors.Is(err, hsm.ErrTokenNotFound) && !errors.Is(err, hsm.ErrDevice) {
		t.Fatal(err)
	}
	if err := tok.Back(); err != nil {
		t.Fatal(err)
	}
	if err := trip(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

func TestManyGoroutinesWhileTheTokenComesAndGoes(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	token := open(t, tok.Config())
	k := keyOf(t, token, hsm.KeySpec{Label: "wrap"})
	var wg sync.WaitGroup
	var good, bad atomic.Int64
	stop := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := trip(t.Context(), k); err == nil {
					good.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	until := func(n *atomic.Int64, more int64) {
		start, deadline := n.Load(), time.Now().Add(time.Minute)
		for ; n.Load() < start+more; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("no progress")
				return
			}
		}
	}
	for range 3 {
		until(&good, 200)
		if err := tok.Away(); err != nil {
			t.Error(err)
		}
		until(&bad, 1)
		if err := tok.Back(); err != nil {
			t.Error(err)
		}
	}
	until(&good, 200)
	close(stop)
	wg.Wait()
	if s := token.Stats(); s.Stuck != 0 {
		t.Errorf("%+v", s)
	}
	if err := trip(t.Context(), k); err != nil {
		t.Error(err)
	}
}

func TestWrongPINOnSoftHSM(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	cfg := tok.Config()
	cfg.PIN = secret.Copy([]byte("000000000"))
	token := open(t, cfg)
	k := keyOf(t, token, hsm.KeySpec{Label: "wrap"})
	for range 5 {
		if err := trip(t.Context(), k); !errors.Is(err, hsm.ErrPIN) ||
			!strings.Contains(err.Error(), "CKR_PIN_INCORRECT") {
			t.Errorf("%v, want ErrPIN", err)
		}
	}
	if s := token.Stats(); s.Logins != 1 {
		t.Errorf("%d logins, want one", s.Logins)
	}
	right := open(t, tok.Config())
	info, err := right.Info(t.Context())
	if err != nil || info.PINLocked {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestTwoTokensOfOneLabel(t *testing.T) {
	a := softhsm.NewLabelled(t, "same-label")
	b := softhsm.NewLabelled(t, "same-label")
	cfg := a.Config()
	cfg.TokenSerial = ""
	if _, err := open(t, cfg).Info(t.Context()); !errors.Is(err, hsm.ErrTokenAmbiguous) ||
		!strings.Contains(err.Error(), b.Serial) {
		t.Errorf("%v, want ErrTokenAmbiguous with both serial numbers", err)
	}
	if info, err := open(t, b.Config()).Info(t.Context()); err != nil || info.Serial != b.Serial {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestGenerateRefusesATakenName(t *testing.T) {
	tok := softhsm.New(t)
	token := open(t, tok.Config())
	for _, kind := range []hsm.Kind{hsm.AES256, hsm.HMAC256} {
		k := hsm.Template{Kind: kind, Label: "made-" + kind.String(), ID: []byte{1, byte(kind)}}
		if err := token.Generate(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if err := token.Generate(t.Context(), k); !errors.Is(err, hsm.ErrKeyExists) {
			t.Errorf("%s, again: %v", kind, err)
		}
	}
	k := keyOf(t, token, hsm.KeySpec{ID: []byte{1, byte(hsm.AES256)}})
	if err := trip(t.Context(), k); err != nil {
		t.Error(err)
	}
}

// TestDataObjectOnSoftHSM: in either isolation, an object is made, changed in place and read.
func TestDataObjectOnSoftHSM(t *testing.T) {
	tok := softhsm.New(t)
	for _, isolation := range []hsm.Isolation{hsm.InProcess, hsm.Process} {
		cfg := tok.Config()
		cfg.Isolation = isolation
		token, err := hsm.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"first", "a longer second one", "3"} {
			if err := token.WriteData(t.Context(), "anchor", []byte(text)); err != nil {
				t.Fatal(err)
			}
			values, err := token.ReadData(t.Context(), "anchor")
			if err != nil || len(values) != 1 || string(values[0]) != text {
				t.Fatalf("%s: %q, %v; want %q", isolation, values, err, text)
			}
		}
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}
}
