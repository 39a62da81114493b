package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
)

// Bounds that operators are promised.
const (
	reportedWithin = 10 * time.Second // until health reports that the HSM is unavailable
	healedWithin   = 15 * time.Second // from the HSM's return until health reports it
)

func wouldNot(h Health, code int) bool {
	return code == 200 && !h.Sealed && h.WouldUnseal != nil && !*h.WouldUnseal
}

func would(h Health, code int) bool {
	return code == 200 && !h.Sealed && h.WouldUnseal != nil && *h.WouldUnseal
}

// until waits; a time below patience is a promise.
func (r *harness) until(d time.Duration, what string, ok func(Health, int) bool) {
	r.t.Helper()
	begun := time.Now()
	if err := r.Until(max(d, patience), what, ok); err != nil {
		r.t.Fatal(err)
	}
	if d < patience {
		promised(r.t, what, time.Since(begun), d)
	}
}

// failing is seal-status of the one seal once it fails.
func (r *harness) failing(class string, words ...string) {
	r.t.Helper()
	st := r.status()
	if len(st.Seals) != 1 || st.Seals[0].Class != class || st.Seals[0].Remedy == "" || st.Seals[0].Cause == "" {
		r.t.Errorf("seal-status: %+v; want class %q", st.Seals, class)
		return
	}
	saysAll(r.t, "seal-status", st.Seals[0].Cause+"\n"+st.Seals[0].Remedy, words...)
}

// TestTokenGone removes the token under a serving server: requests succeed, health reports it, and
// the state clears soon after the token returns. A server that starts without it waits, and unseals
// automatically.
func TestTokenGone(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	r.mustInit()
	r.until(patience, "proven", would)
	l := r.startTraffic(4)
	for range 2 {
		r.move(r.token.Away)
		r.until(reportedWithin, "telling that the token is gone", wouldNot)
		r.failing("unreachable", r.token.Label, "connection")
		reply := r.must(503, "PUT", "sys/rotate/root", nil)
		saysAll(t, "rotating the root key", reply.Errors(), "nothing was changed", "unreachable")
		r.must(204, "PUT", "sys/rotate", nil) // the barrier's key needs no HSM
		l.goesOn(200)
		r.move(r.token.Back)
		r.until(healedWithin, "healthy again", would)
		r.must(204, "PUT", "sys/rotate/root", nil)
	}
	l.stop(t)

	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	r.move(r.token.Away)
	r.mustStart()
	r.eventually(patience, "telling why it is sealed", func() bool { return len(r.status().Warnings) > 0 })
	if st := r.status(); !st.Sealed || !st.Initialized || st.T != 3 || st.N != 5 {
		t.Errorf("seal-status without the token: %+v", st)
	}
	r.failing("key gone", r.token.Label, "connect it")
	r.move(r.token.Back)
	r.until(healedWithin, "unsealed automatically", unsealed)
}

func (r *harness) move(f func() error) {
	r.t.Helper()
	if err := f(); err != nil {
		r.t.Fatal(err)
	}
}

// remote is an HSM behind a connection that can be stopped and cut: p11-kit's server before a
// SoftHSM token.
type remote struct {
	t      *testing.T
	token  *softhsm.Token
	socket string
	cmd    *exec.Cmd
}

func (h *remote) start() {
	h.t.Helper()
	_ = os.Remove(h.socket)
	h.cmd = exec.Command("p11-kit", "server", "-f", "--name", h.socket, "--provider", h.token.Lib, "pkcs11:")
	h.cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+h.token.ConfigPath)
	h.cmd.SysProcAttr = groupAttr()
	if err := h.cmd.Start(); err != nil {
		h.t.Fatalf("p11-kit (make setup installs it): %v", err)
	}
	for deadline := time.Now().Add(patience); ; {
		if _, err := os.Stat(h.socket); err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatal("p11-kit server made no socket within 10 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// signal reaches the server and the process that it has for every connection.
func (h *remote) signal(sig syscall.Signal) {
	h.t.Helper()
	if err := syscall.Kill(-h.cmd.Process.Pid, sig); err != nil {
		h.t.Fatal(err)
	}
}

func (h *remote) stop() {
	_ = syscall.Kill(-h.cmd.Process.Pid, syscall.SIGKILL)
	_ = h.cmd.Wait()
}

// newRemoteHarness is a harness on such an HSM. The key is RSA: this remoting cannot carry the
// parameters of AES-GCM.
func newRemoteHarness(t *testing.T) (*harness, *remote) {
	t.Helper()
	clients, _ := filepath.Glob("/usr/lib*/*/pkcs11/p11-kit-client.so")
	if more, _ := filepath.Glob("/usr/lib*/pkcs11/p11-kit-client.so"); len(clients) == 0 {
		clients = more
	}
	if len(clients) == 0 {
		t.Fatal("no p11-kit-client.so: install p11-kit-modules (make setup does)")
	}
	dir := t.TempDir()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	onToken(t, token, "make", "rsa", "root")
	h := &remote{t: t, token: token, socket: filepath.Join(dir, "s")}
	if len(h.socket) > 100 { // sockets' names are short
		short, err := os.MkdirTemp("", "p11-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(short) })
		h.socket = filepath.Join(short, "s")
	}
	h.start()
	t.Cleanup(h.stop)
	r := newHarness(t, dir, stanza(map[string]string{
		"lib": clients[0], "token_label": token.Label, "pin": token.PIN, "key_label": "root", "timeout": "6s",
		"disable_software_encryption": "true", "rsa_oaep_hash": "sha1",
	}))
	r.useToken(token)
	r.Env = []string{"P11_KIT_SERVER_ADDRESS=unix:path=" + h.socket}
	return r, h
}

// TestHSMHangs stops the HSM during a call: every call ends by its deadline, requests succeed,
// health reports it, and a normal state when it runs again.
func TestHSMHangs(t *testing.T) {
	t.Parallel()
	r, h := newRemoteHarness(t)
	r.mustStart()
	r.mustInit()
	r.until(patience, "proven", would)
	l := r.startTraffic(2)
	h.signal(syscall.SIGSTOP)
	r.until(reportedWithin, "telling that the HSM hangs", wouldNot)
	r.failing("unreachable", "no answer within", "answers")
	began := time.Now()
	reply := r.must(503, "PUT", "sys/rotate/root", nil)
	promised(t, "the end of a rotation on a hanging HSM, whose deadline is 6 s", time.Since(began), 12*time.Second)
	saysAll(t, "rotating the root key", reply.Errors(), "nothing was changed", "unreachable", "deadline")
	l.goesOn(200)
	h.signal(syscall.SIGCONT)
	r.until(healedWithin, "healthy again", would)
	r.must(204, "PUT", "sys/rotate/root", nil)
	l.stop(t)

	// A server that is stopped while its HSM hangs stops all the same.
	h.signal(syscall.SIGSTOP)
	reply = r.call("PUT", "sys/rotate/root", nil)
	if reply.Code != 503 {
		t.Errorf("rotating the root key: %d %s", reply.Code, reply.Body)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	// And one that starts then waits for it, answering.
	r.mustStart()
	r.eventually(patience, "telling why it is sealed",
		func() bool { return r.status().Seals[0].Class == "unreachable" })
	h.signal(syscall.SIGCONT)
	r.until(2*healedWithin, "unsealed automatically", unsealed)
}

// TestDeviceError cuts the connection to the HSM and brings it back: a new process, with other
// handles and no log-in.
func TestDeviceError(t *testing.T) {
	t.Parallel()
	r, h := newRemoteHarness(t)
	r.mustStart()
	r.mustInit()
	r.until(patience, "proven", would)
	l := r.startTraffic(2)
	for range 2 {
		h.stop()
		reply := r.must(503, "PUT", "sys/rotate/root", nil)
		saysAll(t, "rotating the root key", reply.Errors(), "nothing was changed")
		r.until(reportedWithin, "telling of the device's error", wouldNot)
		l.goesOn(100)
		h.start()
		r.until(healedWithin, "healthy again", would)
		r.must(204, "PUT", "sys/rotate/root", nil)
	}
	l.stop(t)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.until(healedWithin, "unsealed", unsealed)
}
