package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/pykmip"
)

// relay passes connections on to a server, until it is cut.
type relay struct {
	t      *testing.T
	addr   string
	to     string
	listen net.Listener

	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, to: to, addr: addr}
	r.back()
	t.Cleanup(r.cut)
	return r
}

// back listens, at the address of before.
func (r *relay) back() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.listen, r.addr = l, l.Addr().String()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			for _, c := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(c[0], c[1])
					_, _ = c[0].Close(), c[1].Close()
				}()
			}
		}
	}()
}

// cut closes the port and every connection.
func (r *relay) cut() {
	_ = r.listen.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// TestKMIPSeal is a server whose only seal is a key on a KMIP server.
func TestKMIPSeal(t *testing.T) {
	t.Parallel()
	s := pykmip.Start(t)
	way := newRelay(t, s.Addr)
	r := newHarness(t, t.TempDir(), kmipStanza(t, s, way.addr))
	r.livesBySeal(t, way.cut, way.back)
}

// TestTPMSeal is a server whose only seal is the machine's TPM.
func TestTPMSeal(t *testing.T) {
	t.Parallel()
	program := testkit.Require(t, "swtpm")
	dir, err := os.MkdirTemp("", "tpm") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	var cmd *exec.Cmd
	stop := func() {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = os.Remove(socket)
		}
		cmd = nil
	}
	start := func() {
		cmd = exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
			"--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	t.Cleanup(stop)
	testkit.Eventually(t, "swtpm listens", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	r := newHarness(t, t.TempDir(), fmt.Sprintf("seal \"tpm2\" \"tpm\" {\n  device = %q\n}\n", "unix:"+socket))
	r.livesBySeal(t, stop, start)
}

// livesBySeal initialises a server, wraps its root key again in each way, and kills it: the seal
// unseals it each time. Without the seal's peer it serves on, reports the cause, and starts sealed;
// it unseals as soon as the peer is back.
func (r *harness) livesBySeal(t *testing.T, away, back func()) {
	t.Helper()
	r.mustStart()
	r.mustInit()
	r.mustPut("kept", "yes")
	again := func() {
		t.Helper()
		r.move(r.Kill)
		r.mustStart()
		if err := r.UntilUnsealed(); err != nil {
			t.Fatal(fmt.Errorf("%w\n%s", err, tail(r.Log())))
		}
		r.mustGet("kept", "yes")
	}
	again()
	r.must(204, "PUT", "sys/rotate", nil)
	r.must(204, "PUT", "sys/rotate/root", nil)
	again()
	r.must(200, "PUT", "sys/seals/rewrap", map[string]string{})
	again()
	name := r.status().Seals[0].Name
	reply := r.must(400, "PUT", "sys/seals/rotate-key", map[string]string{"name": name})
	saysAll(t, "a rotation of its key", reply.Errors(), "nothing was changed", "operator seals add")
	r.until(patience, "proven", would)

	away()
	r.until(patience, "reporting the loss", wouldNot)
	r.failing("unreachable", name)
	r.mustGet("kept", "yes")
	reply = r.must(503, "PUT", "sys/rotate/root", nil)
	saysAll(t, "rotating the root key", reply.Errors(), "nothing was changed", "unreachable")
	r.move(r.Kill)
	r.mustStart()
	r.eventually(patience, "telling why it is sealed", func() bool {
		st := r.status()
		return st.Sealed && len(st.Seals) == 1 && st.Seals[0].Class == "unreachable"
	})
	back()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, tail(r.Log())))
	}
	r.mustGet("kept", "yes")
}
