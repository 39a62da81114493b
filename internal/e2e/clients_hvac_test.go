package e2e

import (
	"path/filepath"
	"testing"
)

// TestHVACData drives a server by hvac, Python's client, unmodified, over TLS: secrets, policies,
// tokens, logins, audit, wrapping.
func TestHVACData(t *testing.T) {
	t.Parallel()
	python := pinnedPython(t, hvacDir)
	r := newStaticHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	r.drive([]string{"PYTHONDONTWRITEBYTECODE=1"}, r.order(), python, filepath.Join(clientsDir, "hvac", "data.py"))
}
