package e2e

import "testing"

// absentTransit is the answer of a server without the transit engine: it cannot be mounted, and its paths lead nowhere. Nothing is half there.
func absentTransit(t *testing.T, requests ...string) {
	t.Helper()
	r := hsmTrapHarness.enter(t)
	r.refused(400, "POST", "sys/mounts/transit", map[string]string{"type": "transit"}, "plugin not found in the catalog: transit")
	for _, path := range requests {
		r.refused(404, "POST", path, map[string]string{"plaintext": "YQ=="}, "no handler for route", path)
		r.as("").refused(403, "POST", path, map[string]string{"plaintext": "YQ=="}, "permission denied")
	}
}

// Absent: transit is not there.
func TestTrap23TransitBatches(t *testing.T) {
	t.Parallel()
	absentTransit(t, "transit/encrypt/k", "transit/rewrap/k", "transit/sign/k", "transit/verify/k", "transit/hmac/k")
}

// Absent: transit is not there.
func TestTrap24TransitKeys(t *testing.T) {
	t.Parallel()
	absentTransit(t, "transit/keys/k", "transit/keys/k/config", "transit/backup/k", "transit/restore/k")
}

// Absent: transit is not there, so nothing is made by encrypting.
func TestTrap25TransitUpsert(t *testing.T) {
	t.Parallel()
	absentTransit(t, "transit/encrypt/new")
}

// Absent: another server's transit seal cannot point here; its first call, an encryption of "a", fails with a text that names the path.
func TestTrap26TransitSeal(t *testing.T) {
	t.Parallel()
	absentTransit(t, "transit/encrypt/autounseal", "transit/decrypt/autounseal")
}
