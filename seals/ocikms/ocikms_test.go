package ocikms

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

const wrapKey, otherKey = "ocid1.key.oc1.iad.v.wrap", "ocid1.key.oc1.iad.v.other"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, s *emulator, key string, params ...string) *Wrapper {
	t.Helper()
	m := map[string]string{"key_id": key, "crypto_endpoint": s.URL,
		"management_endpoint": strings.TrimPrefix(s.URL, "https://") + "/", "auth_type_api_key": "true"}
	for i := 0; i < len(params); i += 2 {
		m[params[i]] = params[i+1]
	}
	w, err := New(seals.Config{Name: "oci", Type: "ocikms", Params: m})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*Wrapper).Close()) })
	return w.(*Wrapper)
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{
		Also: map[string]seals.Class{
			"Destroy": seals.Denied, // the service gives one answer for both
		},
		Stride: 5,
		New: func(t *testing.T) *sealtest.Fixture {
			s := newEmulator(t)
			during := func(on, off func()) func() func() {
				return func() func() {
					s.set(on)
					return func() { s.set(off) }
				}
			}
			state := func(state string, deletion time.Time) func() {
				return func() { s.set(func() { s.keys[wrapKey].state, s.keys[wrapKey].deletion = state, deletion }) }
			}
			return &sealtest.Fixture{
				Wrapper: open(t, s, wrapKey), Other: open(t, s, otherKey),
				Again: func() wrapping.Wrapper { return open(t, s, wrapKey) },
				Unresponsive: during(func() { s.unresponsive = make(chan struct{}) },
					func() { close(s.unresponsive); s.unresponsive = nil }),
				Away:       during(func() { s.away = true }, func() { s.away = false }),
				Garble:     during(func() { s.garble = true }, func() { s.garble = false }),
				Throttle:   during(func() { s.throttled = true }, func() { s.throttled = false }),
				Deny:       during(func() { s.refuses = true }, func() { s.refuses = false }),
				Disable:    state("DISABLED", time.Time{}),
				Enable:     state("ENABLED", time.Time{}),
				Schedule:   state("PENDING_DELETION", time.Now().Add(30*24*time.Hour)),
				Unschedule: state("ENABLED", time.Time{}),
				Destroy:    func() { s.set(func() { delete(s.keys, wrapKey) }) },
				Rotate:     func() { s.rotate(wrapKey) },
				Expire:     func() { s.set(func() { s.unknownUser = true }) },
				Renew:      func() { s.set(func() { s.unknownUser = false }) },
				Calls:      func() int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls },
			}
		},
	})
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

func TestStates(t *testing.T) {
	t.Parallel()
	s := newEmulator(t)
	w := open(t, s, wrapKey)
	plain := []byte("the root key")
	blob, err := w.Encrypt(t.Context(), plain)
	must(t, err)
	if v := w.VersionOf(blob); v != wrapKey+".version.1" {
		t.Errorf("version %q", v)
	}
	s.rotate(wrapKey)
	if v, err := w.KeyVersion(t.Context()); v != wrapKey+".version.2" || err != nil {
		t.Errorf("version %q, %v", v, err)
	}
	if got, err := w.Decrypt(t.Context(), blob); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	s.set(func() {
		s.keys[wrapKey].state, s.keys[wrapKey].deletion = "PENDING_DELETION",
			time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	})
	_, err = w.Decrypt(t.Context(), blob)
	failed(t, "pending deletion", err, seals.PendingDeletion, "2027-01-02", "cancel-deletion")
	s.set(func() { s.keys[wrapKey].state = "DELETED" })
	_, err = w.Decrypt(t.Context(), blob)
	failed(t, "deleted", err, seals.KeyGone, "restore")
	s.set(func() { s.status = 503 })
	_, err = open(t, s, wrapKey, "timeout", "200ms").Decrypt(t.Context(), blob)
	failed(t, "the service is down", err, seals.Unreachable)
}

func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	s := newEmulator(t)
	w := open(t, s, wrapKey)
	blob, err := w.Encrypt(t.Context(), []byte("x"))
	must(t, err)
	for _, body := range []string{"<html>", "{}", "[]", `{"plaintext":"AAAA"}`, `{"plaintext":"?"}`,
		`{"plaintext":7}`} {
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
	env := map[string]string{"VAULT_OCIKMS_SEAL_KEY_ID": "ocid1.key.x",
		"VAULT_OCIKMS_CRYPTO_ENDPOINT": "https://c.example", "OCIKMS_WRAPPER_MANAGEMENT_ENDPOINT": "m.example/"}
	s, err := parse(seals.Config{Params: map[string]string{"key_id": "y", "auth_type_api_key": "true"},
		Getenv: func(n string) string { return env[n] }})
	if err != nil || s.key != "ocid1.key.x" || s.crypto != "https://c.example" ||
		s.management != "https://m.example" || !s.apiKey {
		t.Errorf("%+v, %v", s, err)
	}
	good := map[string]string{"key_id": "k", "crypto_endpoint": "https://c.example",
		"management_endpoint": "https://m.example"}
	for name, v := range map[string]string{"key_id": "", "crypto_endpoint": "http://c.example",
		"management_endpoint": "https://u:p@m.example", "auth_type_api_key": "perhaps",
		"timeout": "soon", "keyid": "k"} {
		bad := map[string]string{name: v}
		for n, g := range good {
			if n != name {
				bad[n] = g
			}
		}
		if _, err := New(seals.Config{Params: bad}); seals.ClassOf(err) != seals.Misconfigured ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s = %q: %v", name, v, err)
		}
	}
}

// TestCredentialsLater is not parallel: it takes the library's configuration away and puts it back.
func TestCredentialsLater(t *testing.T) {
	s := newEmulator(t)
	w := open(t, s, wrapKey)
	must(t, os.WriteFile(configFile, []byte("[DEFAULT]\n"), 0o600))
	_, err := w.Encrypt(t.Context(), []byte("x"))
	failed(t, "without credentials", err, seals.Denied, "OCI_CONFIG_FILE")
	must(t, os.WriteFile(configFile, []byte(config("key.pem")), 0o600))
	_, err = w.Encrypt(t.Context(), []byte("x"))
	must(t, err)
}
