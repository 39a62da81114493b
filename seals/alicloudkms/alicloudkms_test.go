package alicloudkms

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, s *emulator, key string, params ...string) *Wrapper {
	t.Helper()
	m := map[string]string{"kms_key_id": key, "domain": strings.TrimPrefix(s.URL, "https://"),
		"region": "eu-central-1", "access_key": accessKey, "secret_key": s.secret}
	for i := 0; i < len(params); i += 2 {
		m[params[i]] = params[i+1]
	}
	w, err := New(seals.Config{Name: "ali", Type: "alicloudkms", Params: m})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*Wrapper).Close()) })
	return w.(*Wrapper)
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{Stride: 5, New: func(t *testing.T) *sealtest.Fixture {
		s := newEmulator(t)
		secretFile := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(secretFile, []byte(s.secret+"\n"), 0o600))
		file := "file://" + secretFile
		during := func(on, off func()) func() func() {
			return func() func() {
				s.set(on)
				return func() { s.set(off) }
			}
		}
		state := func(state string, deletion time.Time) func() {
			return func() { s.set(func() { s.keys["key-wrap"].state, s.keys["key-wrap"].deletion = state, deletion }) }
		}
		return &sealtest.Fixture{
			Wrapper: open(t, s, "alias/seal", "secret_key", file), Other: open(t, s, "key-other"),
			Again: func() wrapping.Wrapper { return open(t, s, "key-wrap", "secret_key", file) },
			Unresponsive: during(func() { s.unresponsive = make(chan struct{}) },
				func() { close(s.unresponsive); s.unresponsive = nil }),
			Away:       during(func() { s.away = true }, func() { s.away = false }),
			Garble:     during(func() { s.garble = true }, func() { s.garble = false }),
			Throttle:   during(func() { s.throttled = true }, func() { s.throttled = false }),
			Deny:       during(func() { s.denies = true }, func() { s.denies = false }),
			Disable:    state("Disabled", time.Time{}),
			Enable:     state("Enabled", time.Time{}),
			Schedule:   state("PendingDeletion", time.Now().Add(30*24*time.Hour)),
			Unschedule: state("Enabled", time.Time{}),
			Destroy:    func() { s.set(func() { delete(s.keys, "key-wrap") }) },
			Rotate:     func() { s.rotate("key-wrap") },
			Expire:     func() { s.set(func() { s.secret = "another" }) },
			Renew:      func() { must(t, os.WriteFile(secretFile, []byte("another"), 0o600)) },
			Calls:      func() int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls },
		}
	}})
}

func failed(t *testing.T, what string, err error, class seals.Class, words ...string) {
	t.Helper()
	if seals.ClassOf(err) != class {
		t.Errorf("%s: %v; want class %q", what, err, class)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: no %q in: %v", what, word, err)
		}
	}
}

// TestErrorsCarryNoRequest: the library's errors hold the URL with the data key in it, and the
// service's repeat what was signed.
func TestErrorsCarryNoRequest(t *testing.T) {
	t.Parallel()
	s := newEmulator(t)
	w := open(t, s, "key-wrap")
	blob, err := w.Encrypt(t.Context(), []byte("the root key"))
	must(t, err)
	for name, on := range map[string]func(){
		"away":      func() { s.away = true },
		"signature": func() { s.away, s.answer, s.secret = false, "", "another" },
		"a page":    func() { s.away, s.answer = false, "<html>" },
	} {
		s.set(on)
		_, err := w.Encrypt(t.Context(), []byte("the root key"))
		if err == nil {
			t.Errorf("%s: Encrypt worked", name)
			continue
		}
		for _, word := range []string{"Plaintext", "Signature=", "AccessKeyId=", accessKey} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q in: %v", name, word, err)
			}
		}
	}
	s.set(func() { s.answer, s.away, s.secret = "", false, "the-secret-of-the-access-key" })
	if _, err := w.Decrypt(t.Context(), blob); err != nil {
		t.Errorf("after recovery: %v", err)
	}
}

func TestAliasLeadsElsewhere(t *testing.T) {
	t.Parallel()
	s := newEmulator(t)
	w := open(t, s, "alias/seal")
	old, err := w.Encrypt(t.Context(), []byte("x"))
	must(t, err)
	if id := old.KeyInfo.KeyId; id != "key-wrap" {
		t.Errorf("the blob is of %q", id)
	}
	s.set(func() { s.aliases["alias/seal"] = "key-other" })
	fresh, err := w.Encrypt(t.Context(), []byte("x"))
	must(t, err)
	if id := fresh.KeyInfo.KeyId; id != "key-other" {
		t.Errorf("the blob is of %q", id)
	}
	_, err = w.Decrypt(t.Context(), old)
	failed(t, "the blob of the previous key", err, seals.WrongKey, "key-wrap")
	_, err = w.Decrypt(t.Context(), fresh)
	must(t, err)
	_, err = open(t, s, "alias/nothing").Encrypt(t.Context(), []byte("x"))
	failed(t, "no such alias", err, seals.KeyGone)
}

func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	s := newEmulator(t)
	w := open(t, s, "key-wrap")
	blob, err := w.Encrypt(t.Context(), []byte("x"))
	must(t, err)
	for _, body := range []string{"<html>", "{}", "[]", `{"Plaintext":"AAAA"}`, `{"Plaintext":"?"}`,
		`{"Plaintext":{}}`} {
		s.set(func() { s.answer = body })
		_, err := w.Decrypt(t.Context(), blob)
		failed(t, body, err, seals.Corrupt)
		if _, err := w.KeyVersion(t.Context()); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s: KeyVersion: %v", body, err)
		}
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	env := map[string]string{"VAULT_ALICLOUDKMS_SEAL_KEY_ID": "k2", "ALICLOUD_REGION": "cn-beijing",
		"ALICLOUD_DOMAIN": "kms.example"}
	s, err := parse(seals.Config{Params: map[string]string{"kms_key_id": "k1", "region": "x", "access_key": "a",
		"access_secret": "b"},
		Getenv: func(n string) string { return env[n] }})
	if err != nil || s.key != "k2" || s.region != "cn-beijing" || s.domain != "kms.example" || s.access != "a" ||
		s.secret != "b" {
		t.Errorf("%+v, %v", s, err)
	}
	for name, v := range map[string]string{"kms_key_id": "", "domain": "https://x/", "region": "a b",
		"access_key": "a", "timeout": "soon", "kmskeyid": "k"} {
		bad := map[string]string{"kms_key_id": "k"}
		bad[name] = v
		if _, err := New(seals.Config{Params: bad}); seals.ClassOf(err) != seals.Misconfigured ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s = %q: %v", name, v, err)
		}
	}
}
