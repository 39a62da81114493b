package v1

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/node"
)

// statusPaths are what load balancers ask for.
var statusPaths = []string{"sys/seal-status", "sys/health", "sys/leader", "sys/init"}

// fresh compares the answers of a handler that has answered before with those of a new one, which
// keeps no rendering; for a client without a token, and for one that may see details.
func fresh(t *testing.T, when string, c api.Config, old http.Handler, token string) (seal string) {
	t.Helper()
	for _, path := range statusPaths {
		for _, token := range []string{token, ""} {
			ask := func(h http.Handler) string {
				r := httptest.NewRequest("GET", "/v1/"+path, nil)
				r.Header.Set("X-Vault-Token", token)
				a := httptest.NewRecorder()
				h.ServeHTTP(a, r)
				return http.StatusText(a.Code) + " " + a.Body.String()
			}
			var got, again, want string
			for changed := true; changed; {
				before, _ := node.StatusVersionOf(c.Node)
				got, again, want = ask(old), ask(old), ask(New(c))
				after, _ := node.StatusVersionOf(c.Node)
				changed = before != after
			}
			if got != want || again != want {
				t.Errorf("%s: %s (token %t)\n%s\n%s\nwant\n%s", when, path, token != "", got, again, want)
			}
			if path == "sys/seal-status" {
				seal = got
			}
		}
	}
	return seal
}

// TestStatusAfterEachChange: the status that is kept is that of the state, after every change, and
// with a clock that stands still.
func TestStatusAfterEachChange(t *testing.T) {
	w := newHarness(t, shamirSeal(t))
	last := ""
	check := func(when string) {
		t.Helper()
		now := fresh(t, when, w.config, w.api, w.token)
		if now == last {
			t.Errorf("%s: the status is the same as before: %s", when, now)
		}
		last = now
	}
	check("uninitialised")
	w.init(`{"secret_shares":3,"secret_threshold":3}`)
	check("initialised")
	for i, when := range []string{"one share", "two shares", "unsealed"} {
		w.expect(when, w.do("PUT", "sys/unseal", `{"key":"`+w.keys[i]+`"}`), 200, "")
		check(when)
	}
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	check("sealed")
	w.expect("share", w.do("PUT", "sys/unseal", `{"key":"`+w.keys[1]+`"}`), 200, "")
	check("one share again")
	w.expect("reset", w.do("PUT", "sys/unseal", `{"reset":true}`), 200, "")
	check("reset")
}

// TestStatusOfRoles: a node's status follows its role.
func TestStatusOfRoles(t *testing.T) {
	f := federate(t, 2)
	configs := map[*testNode]api.Config{}
	check := func(when string) {
		t.Helper()
		for _, n := range f.nodes {
			c := api.Config{Node: n.node, Version: "1.2.3", Now: now}
			if _, ok := configs[n]; !ok {
				configs[n] = c
				n.api = New(c)
			}
			fresh(t, when, c, n.api, "")
		}
	}
	check("at first")
	f.depose()
	f.settled()
	check("after a step-down")
}

// TestStandbyReadsWhatWasWritten: a read at a standby shows what the leader acknowledged before,
// though the standby begins before it has proven to be current. An attempt that was dropped leaves
// no entry in the audit trail.
func TestStandbyReadsWhatWasWritten(t *testing.T) {
	f := federate(t, 2)
	leader, standbys := f.settled()
	standby := standbys[0]
	const rounds = 60
	for i := range rounds {
		text := fmt.Sprintf(`{"k":"value %d"}`, i)
		if code, body := leader.do("POST", "secret/data/x", `{"data":`+text+`}`); code != http.StatusOK {
			t.Fatal(code, body)
		}
		for range 2 { // the second one begins with everything applied
			if code, body := standby.do("GET", "secret/data/x", ""); code != http.StatusOK || !strings.Contains(body, text) {
				t.Fatalf("after write %d: %d %s", i, code, body)
			}
		}
	}
	requests, responses := 0, 0
	for line := range strings.Lines(standby.trail.String()) {
		if !strings.Contains(line, `"secret/data/x"`) {
			continue
		}
		if strings.Contains(line, "not yet applied") {
			t.Errorf("a dropped attempt was audited: %s", line)
		}
		requests += strings.Count(line, `"type":"request"`)
		responses += strings.Count(line, `"type":"response"`)
	}
	if requests != responses || requests == 0 || requests > 2*rounds {
		t.Errorf("%d requests and %d responses in the standby's trail, for %d reads", requests, responses, 2*rounds)
	}
}
