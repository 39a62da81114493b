package v1

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestAnonymousWrapsNothing: an answer that needs no token is not stored for an unauthenticated
// client.
func TestAnonymousWrapsNothing(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("userpass", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("POST", "auth/userpass/users/alice", `{"password":"a password"}`), 204, "")
	w.expect("pubkey", w.do("GET", "sys/wrapping/pubkey", ""), 200, "")
	wrapped := w.do("POST", "sys/wrapping/wrap", `{"a":"b"}`, "X-Vault-Wrap-TTL", "1m")
	w.expect("with a token", wrapped, 200, "")
	var made struct {
		Wrap struct{ Token string } `json:"wrap_info"`
	}
	w.decode(wrapped, &made)
	before := entries(t, w)
	for _, one := range [][3]string{
		{"PUT", "sys/decode-token", `{"encoded_token":"` + strings.Repeat("A", 35) + `","otp":"` +
			strings.Repeat("a", 26) + `"}`},
		{"GET", "sys/internal/ui/mounts", ""}, {"GET", "sys/wrapping/pubkey", ""},
		{"POST", "sys/wrapping/lookup", fmt.Sprintf(`{"token":%q}`, made.Wrap.Token)},
	} {
		w.expect(one[1], w.do(one[0], one[1], one[2], "X-Vault-Token", ""), 200, "")
		w.expect(one[1]+", wrapped", w.do(one[0], one[1], one[2], "X-Vault-Token", "", "X-Vault-Wrap-TTL", "768h"), 400, "")
	}
	if after := entries(t, w); after != before {
		t.Errorf("clients without a token have stored %d entries", after-before)
	}
	w.expect("a login", w.do("POST", "auth/userpass/login/alice", `{"password":"a password"}`, "X-Vault-Token", "",
		"X-Vault-Wrap-TTL", "1m"), 200, "")
	w.expect("a rewrap", w.do("POST", "sys/wrapping/rewrap", "", "X-Vault-Token", made.Wrap.Token), 200, "")
}

func entries(t *testing.T, w *harness) (n int) {
	t.Helper()
	var count func(prefix string)
	count = func(prefix string) {
		names, err := w.store.List(context.Background(), prefix, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				count(prefix + name)
			} else {
				n++
			}
		}
	}
	count("")
	return n
}

// TestAnonymousFillsNoTrail: a request without a token adds little to the trail, whatever it reads.
func TestAnonymousFillsNoTrail(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	w.expect("small", w.do("GET", "sys/internal/ui/mounts", "", "X-Vault-Token", ""), 200, "")
	before := len(w.trail(log))
	for range 3 {
		a := w.do("GET", "sys/internal/specs/openapi", "", "X-Vault-Token", "")
		if a.Code != 200 || a.Body.Len() < 100<<10 {
			t.Errorf("the document: %d, %d bytes", a.Code, a.Body.Len())
		}
	}
	if more := len(w.trail(log)) - before; more == 0 || more > 16<<10 {
		t.Errorf("three requests without a token added %d bytes to the trail", more)
	}
}
