//go:build !race

package v1

import (
	"net/http"
	"testing"
)

// TestStatusAllocations: what load balancers and reads cost in the server, without client and
// network.
func TestStatusAllocations(t *testing.T) {
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/one", `{"value":"x"}`), 204, "")
	for _, tc := range []struct {
		path, token string
		most        float64
	}{
		{"sys/health", "", 4}, {"sys/seal-status", "", 4}, {"sys/seal-status", w.token, 6}, {"sys/leader", "", 5},
		{"sys/init", "", 4}, {"secret/one", w.token, 9},
	} {
		r := w.request("GET", "/v1/"+tc.path, "", "X-Vault-Token", tc.token)
		out := &sink{header: http.Header{}}
		n := testing.AllocsPerRun(200, func() {
			clear(out.header)
			w.api.ServeHTTP(out, r)
		})
		t.Logf("%s, token %t: %v allocations", tc.path, tc.token != "", n)
		if n > tc.most || out.code != http.StatusOK {
			t.Errorf("%s: %v allocations, status %d; at most %v are wanted", tc.path, n, out.code, tc.most)
		}
	}
}
