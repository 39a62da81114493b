//go:build !race

package v1

import "testing"

// TestTransitAllocations: what a request costs in the server, without client and network.
func TestTransitAllocations(t *testing.T) {
	w := unsealed(t)
	for path, serve := range transitRequests(t, w) {
		n := testing.AllocsPerRun(200, serve)
		t.Logf("%s: %v allocations", path, n)
		if n > 25 {
			t.Errorf("%s: %v allocations; at most 25 are wanted", path, n)
		}
	}
}
