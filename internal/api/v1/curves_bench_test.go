package v1

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
)

// curve is a kind of object that a server has many of, and a request that must not take longer
// because of them. `make scale` has the same with the real program, at ten times the numbers.
type curve struct {
	what   string
	most   int
	mounts string // one more mount, "" for none
	add    func(i int) (method, path, body string)
	method string // of the request
	path   string
	body   string
}

var curves = []curve{
	{what: "policies", most: 1000, method: "GET", path: "secret/app/one",
		add: func(i int) (string, string, string) {
			text := fmt.Sprintf(`path \"secret/app/*\" { capabilities = [\"read\"] } path \"kv/%d/*\" { `+
				`capabilities = [\"list\"] }`, i)
			return "PUT", fmt.Sprintf("sys/policies/acl/policy-%d", i), `{"policy":"` + text + `"}`
		}},
	{what: "mounts", most: 1000, method: "GET", path: "secret/app/one",
		add: func(i int) (string, string, string) {
			return "POST", fmt.Sprintf("sys/mounts/team-%d", i), `{"type":"kv"}`
		}},
	{what: "AppRole roles", most: 10_000, mounts: "sys/auth/approle", method: "POST", path: "auth/approle/login",
		body: `{"role_id":"id-7"}`,
		add: func(i int) (string, string, string) {
			return "POST", fmt.Sprintf("auth/approle/role/role-%d", i),
				fmt.Sprintf(`{"role_id":"id-%d","bind_secret_id":false,"secret_id_bound_cidrs":"192.0.2.0/24",`+
					`"token_type":"batch"}`, i) // the storage in memory becomes slower with each token that it keeps
		}},
	{what: "transit keys", most: 1000, mounts: "sys/mounts/transit", method: "POST", path: "transit/encrypt/key-7",
		body: `{"plaintext":"YQ=="}`,
		add: func(i int) (string, string, string) {
			return "POST", fmt.Sprintf("transit/keys/key-%d", i), ""
		}},
	{what: "secrets", most: 100_000, method: "GET", path: "secret/app/one",
		add: func(i int) (string, string, string) {
			return "PUT", fmt.Sprintf("secret/many/%06d", i), `{"value":"x"}`
		}},
}

// BenchmarkCurves shows what a request takes beside ten times as many objects, as a ratio. Two runs
// of the same differ by a few per cent.
func BenchmarkCurves(b *testing.B) {
	for _, c := range curves {
		b.Run(strings.ReplaceAll(c.what, " ", "-"), func(b *testing.B) {
			w := unsealed(b)
			w.succeed("PUT", "secret/app/one", `{"value":"x"}`)
			if c.mounts != "" {
				w.succeed("POST", c.mounts, fmt.Sprintf(`{"type":%q}`, c.mounts[strings.LastIndexByte(c.mounts, '/')+1:]))
			}
			var took []float64
			added, steps := 0, []int{c.most / 100, c.most / 10, c.most}
			for i, step := range steps {
				for ; added < step; added++ {
					w.succeed(c.add(added))
				}
				took = append(took, w.least(b, c))
				if i > 0 {
					testkit.AtMost(b, fmt.Sprintf("%s %s beside %d %s to beside a tenth of them", c.method, c.path, step, c.what),
						took[i]/took[i-1], 1.3)
				}
			}
			for b.Loop() {
				w.succeed(c.method, c.path, c.body)
			}
			for i, step := range steps {
				b.ReportMetric(took[i], fmt.Sprintf("us-of-%d", step))
			}
		})
	}
}

// succeed makes a request that must succeed.
func (w *harness) succeed(method, path, body string) {
	w.t.Helper()
	if a := w.do(method, path, body); a.Code/100 != 2 {
		w.t.Fatalf("%s %s: %d %s", method, path, a.Code, a.Body)
	}
}

// least returns what the request takes in microseconds, by the best of many rounds: what else the
// machine does only adds to the others. The token has one of the policies, where there are many.
func (w *harness) least(b *testing.B, c curve) float64 {
	b.Helper()
	token := w.token
	defer func() { w.token = token }()
	if c.what == "policies" {
		var made struct {
			Auth struct {
				Token string `json:"client_token"`
			}
		}
		w.decode(w.do("POST", "auth/token/create", `{"policies":["policy-7"]}`), &made)
		w.token = made.Auth.Token
	}
	best := math.Inf(1)
	for range 40 {
		begun := time.Now()
		for range 50 {
			if a := w.do(c.method, c.path, c.body); a.Code != http.StatusOK {
				b.Fatalf("%s %s: %d %s", c.method, c.path, a.Code, a.Body)
			}
		}
		best = min(best, float64(time.Since(begun).Nanoseconds())/1e3/50)
	}
	return best
}
