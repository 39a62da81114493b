//go:build !race

package v1

import "testing"

// TestTransitAllocations: what a request costs in the server, without client and network. A batch
// has 100 items.
func TestTransitAllocations(t *testing.T) {
	w := unsealed(t)
	for path, serve := range transitRequests(t, w) {
		n := testing.AllocsPerRun(200, serve)
		t.Logf("%s: %v allocations", path, n)
		most := 18.0
		if path == "encrypt/k batch" {
			most += 100 * 5
		}
		if n > most {
			t.Errorf("%s: %v allocations; at most %v are wanted", path, n, most)
		}
	}
}
