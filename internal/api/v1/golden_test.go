package v1

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// transcript makes requests in order and writes them down with their answers.
type transcript struct {
	w *harness
	b strings.Builder
}

func (s *transcript) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	a := s.w.do(method, path, body, header...)
	fmt.Fprintf(&s.b, "%s %s %s\n%d %s\n\n", method, path, normal(body), a.Code,
		strings.TrimSuffix(normal(a.Body.String()), "\n"))
	return a
}

func TestBodiesUnderAnAutoSeal(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	s := &transcript{w: w}
	s.do("GET", "sys/init", "")
	s.do("GET", "sys/seal-status", "")
	s.do("GET", "sys/seal-backend-status", "")
	s.do("GET", "sys/health", "")
	s.do("GET", "sys/leader", "")
	s.do("GET", "secret/a", "")
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":2,"stored_shares":1}`)
	s.do("GET", "sys/init", "")
	s.do("PUT", "sys/init", `{"recovery_shares":3,"recovery_threshold":2}`)
	s.do("GET", "sys/seal-status", "")
	s.do("GET", "sys/seal-backend-status", "")
	s.do("GET", "sys/health", "")
	s.do("GET", "sys/leader", "")
	s.do("PUT", "sys/unseal", `{"key":"ab"}`)
	s.do("GET", "auth/token/lookup-self", "")
	s.do("GET", "sys/mounts", "")
	s.do("GET", "sys/mounts/secret", "")
	s.do("GET", "sys/internal/ui/mounts", "")
	s.do("GET", "sys/internal/ui/mounts/secret/a/b", "")
	s.do("PUT", "secret/a", `{"z":1,"a":"<b>","ttl":"1h"}`)
	s.do("GET", "secret/a", "")
	s.do("LIST", "secret", "")
	s.do("GET", "secret?list=true", "")
	s.do("DELETE", "secret/a", "")
	s.do("GET", "secret/a", "")
	s.do("LIST", "secret", "")
	s.do("GET", "sys/key-status", "")
	s.do("POST", "sys/rotate", "")
	s.do("POST", "sys/rotate/keyring", "")
	s.do("POST", "sys/rotate/root", "")
	s.do("GET", "sys/key-status", "")
	s.do("GET", "sys/rotate/config", "")
	s.do("POST", "sys/rotate/config", `{"interval":"48h","enabled":"false"}`)
	s.do("GET", "sys/rotate/keyring/config", "")
	s.do("GET", "sys/rekey-recovery-key/init", "")
	s.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`)
	nonce := w.nonce("sys/rekey-recovery-key/init")
	s.do("GET", "sys/rekey-recovery-key/init", "")
	s.do("PUT", "sys/rekey-recovery-key/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, keys.RecoveryKeys[0], nonce))
	s.do("PUT", "sys/rekey-recovery-key/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, keys.RecoveryKeys[1], nonce))
	s.do("PUT", "sys/rekey/init", `{"secret_shares":5,"secret_threshold":3}`)
	s.do("DELETE", "sys/rekey/init", "")
	s.do("DELETE", "sys/rekey/init", "")
	s.do("PUT", "sys/seal", "")
	s.do("GET", "sys/seal-status", "")
	s.do("GET", "sys/health", "")
	s.do("GET", "sys/leader", "")
	s.do("GET", "secret/a", "")
	golden(t, "auto-seal.txt", s.b.String())
}

func TestBodiesUnderShamir(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	s := &transcript{w: w}
	s.do("GET", "sys/seal-status", "")
	s.do("PUT", "sys/unseal", `{"key":"`+strings.Repeat("ab", 33)+`"}`)
	s.do("PUT", "sys/init", `{"recovery_shares":3,"secret_shares":3,"secret_threshold":2}`)
	s.do("PUT", "sys/init", `{"secret_shares":3,"secret_threshold":1}`)
	keys := w.init(`{"secret_shares":3,"secret_threshold":2}`).Keys
	s.do("GET", "sys/seal-status", "")
	s.do("PUT", "sys/unseal", `{}`)
	s.do("PUT", "sys/unseal", `{"key":"zz"}`)
	s.do("PUT", "sys/unseal", `{"key":"abcd"}`)
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q,"migrate":true}`, keys[0]))
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, strings.Repeat("ab", 33)))
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, keys[0]))
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, keys[0]))
	s.do("PUT", "sys/unseal", `{"reset":true}`)
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"KEY":%q}`, keys[1]))
	s.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, keys[2]))
	s.do("PUT", "sys/unseal", `{"reset":true}`)
	s.do("PUT", "sys/unseal", `{"key":"ab"}`)
	s.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`)
	s.do("GET", "sys/rekey-recovery-key/init", "")
	s.do("PUT", "sys/rekey/init", `{"secret_shares":2,"secret_threshold":3}`)
	s.do("PUT", "sys/rekey/init", `{"secret_shares":2,"secret_threshold":2,"backup":true}`)
	s.do("PUT", "sys/rekey/init", `{"secret_shares":2,"secret_threshold":2,"pgp_keys":["a"]}`)
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":"x"}`, keys[0]))
	s.do("PUT", "sys/rekey/init", `{"secret_shares":2,"secret_threshold":2}`)
	s.do("PUT", "sys/rekey/init", `{"secret_shares":2,"secret_threshold":2}`)
	nonce := w.nonce("sys/rekey/init")
	s.do("PUT", "sys/rekey/update", `{"nonce":"x"}`)
	s.do("PUT", "sys/rekey/update", `{"key":"zz","nonce":"x"}`)
	s.do("PUT", "sys/rekey/update", `{"key":"abcd","nonce":"x"}`)
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":"x"}`, keys[0]))
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q}`, keys[0]))
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, strings.Repeat("ab", 33), nonce))
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, keys[0], nonce))
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, keys[0], nonce))
	s.do("PUT", "sys/rekey/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, keys[1], nonce))
	s.do("GET", "sys/rekey/init", "")
	if strings.Contains(s.b.String(), nonce) {
		t.Error("a nonce was not made anonymous")
	}
	golden(t, "shamir.txt", s.b.String())
}

// nonce asks for that of a ceremony under way.
func (w *harness) nonce(path string) string {
	w.t.Helper()
	var r struct {
		Nonce string `json:"nonce"`
	}
	w.decode(w.do("GET", path, ""), &r)
	if r.Nonce == "" {
		w.t.Fatalf("%s shows no nonce", path)
	}
	return r.Nonce
}

func TestNoErrorTellsANonce(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	share := w.init(`{"recovery_shares":3,"recovery_threshold":2}`).RecoveryKeys[0]
	for _, path := range []string{"sys/rekey/", "sys/rekey-recovery-key/"} {
		w.expect("start", w.do("PUT", path+"init", `{"secret_shares":3,"secret_threshold":2}`), 200, "")
		nonce := w.nonce(path + "init")
		for _, given := range []string{"", "x", nonce[:35], strings.ToUpper(nonce)} {
			a := w.do("PUT", path+"update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, share, given), "X-Vault-Token", "")
			if a.Code != 400 || strings.Contains(a.Body.String(), nonce) ||
				!strings.Contains(a.Body.String(), "incorrect nonce supplied") {
				t.Errorf("the nonce %q: %d %s", given, a.Code, a.Body)
			}
		}
		// The holder of a share needs no account.
		a := w.do("PUT", path+"update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, share, nonce), "X-Vault-Token", "")
		w.expect("a share without a token", a, 200, "")
	}
}
