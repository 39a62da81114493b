package pgtest

import (
	"io"
	"os/exec"
	"syscall"
	"testing"
)

// keeper is a small process that outlives the test process: when that ends, however it ends, it
// stops the server and removes its folder.
type keeper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// The keeper waits for the end of its input, which the test process holds open.
const keeping = `cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -QUIT "$pid" 2>/dev/null
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi
rm -rf "$1"`

func keep(dir string) (*keeper, error) {
	cmd := exec.Command("/bin/sh", "-c", keeping, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &keeper{cmd, stdin}, cmd.Start()
}

// end removes the folder now.
func (k *keeper) end(t testing.TB) {
	t.Helper()
	_ = k.stdin.Close() // the keeper ends in any case
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("removing the folder of PostgreSQL: %v", err)
	}
}
