//go:build unix

package e2e

import (
	"strings"
	"testing"
)

// TestReloadOfAnHSMSeal: SIGHUP makes an unsealed server use the changed stanza of its HSM where
// that opens the root key, and keep the old one where it does not; it serves on either way, and
// the next start unseals.
func TestReloadOfAnHSMSeal(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	r.mustInit()
	r.mustPut("kept", "yes")
	l := r.startTraffic(2)
	good := stanzaOf(t, r)
	reload := func(stanza string, words ...string) {
		t.Helper()
		before := len(r.Log())
		r.configure(stanza)
		r.hup()
		for _, w := range words {
			r.eventually(patience, "logging "+w, func() bool { return strings.Contains(r.Log()[before:], w) })
		}
	}
	reload(strings.Replace(good, "\"root\"", "\"root\"\n  max_parallel = 2", 1),
		"reload: done")
	reload(strings.Replace(good, "\"root\"", "\"absent\"", 1), "failed in part", "the seals stay as they are")
	r.until(patience, "proven by the old stanza", would)
	r.must(204, "PUT", "sys/rotate/root", nil)
	reload(good, "reload: done")
	r.must(204, "PUT", "sys/rotate/root", nil)
	l.goesOn(200)
	l.stop(t)
	r.move(r.Kill)
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatalf("%v\n%s", err, tail(r.Log()))
	}
	r.mustGet("kept", "yes")
}
