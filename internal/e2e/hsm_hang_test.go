//go:build cgo && linux

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
)

// hangingModule compiles a PKCS #11 library that never returns from C_Initialize.
func hangingModule(t *testing.T) string {
	t.Helper()
	lib := filepath.Join(t.TempDir(), "hang.so")
	out, err := exec.Command("cc", "-w", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", lib,
		"../../hsm/internal/worker/testdata/hostile.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return lib
}

// best runs an attempt three times and returns the shortest time: the machine may be busy with
// other tests, and a deadline that is kept is kept each time.
func best(attempt func() time.Duration) time.Duration {
	return min(attempt(), attempt(), attempt())
}

// TestHangingHSMAtInitAndStart: a module that hangs in its first call is reported soon, by init,
// and by the status of a server that starts; SIGTERM then ends the server, with exit code 0.
func TestHangingHSMAtInitAndStart(t *testing.T) {
	t.Parallel()
	token, err := softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	onToken(t, token, "make", "aes", "root")
	good := stanza(map[string]string{"lib": token.Lib, "token_label": token.Label, "pin": token.PIN, "key_label": "root"})
	hangs := stanza(map[string]string{"lib": hangingModule(t), "slot": "7", "pin": "1234", "key_label": "root"})
	r := newHarness(t, t.TempDir(), hangs)
	r.Env = []string{"SOFTHSM2_CONF=" + token.ConfigPath, "HOSTILE_INIT=hang"}
	r.known.add("the PIN", token.PIN)

	stop := func() time.Duration {
		t.Helper()
		began := time.Now()
		if err := r.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code, err := r.Wait(patience); err != nil || code != 0 {
			t.Fatalf("SIGTERM: exit code %d, %v; want 0", code, err)
		}
		return time.Since(began)
	}
	var stops []time.Duration
	promised(t, "the answer of init on a hanging HSM", best(func() time.Duration {
		r.mustStart()
		began := time.Now()
		reply := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
		took := time.Since(began)
		if reply.Code != 503 || !strings.Contains(string(reply.Body), "unreachable") {
			t.Errorf("init: %d %s; want 503 and the class", reply.Code, reply.Body)
		}
		stops = append(stops, stop())
		return took
	}), 4*time.Second)

	r.configure(good)
	r.mustStart()
	r.mustInit()
	_ = stop()
	r.configure(hangs)
	promised(t, "the report of a hanging HSM after the start", best(func() time.Duration {
		r.mustStart()
		began := time.Now()
		r.eventually(patience, "saying that the HSM hangs", func() bool {
			st := r.status()
			return len(st.Seals) > 0 && st.Seals[0].Class == "unreachable" && st.Sealed
		})
		took := time.Since(began)
		stops = append(stops, stop())
		return took
	}), 4*time.Second)
	promised(t, "the stop after init on a hanging HSM", min(stops[0], stops[1], stops[2]), 3*time.Second)
	promised(t, "the stop after a start with a hanging HSM", min(stops[3], stops[4], stops[5]), 3*time.Second)
}
