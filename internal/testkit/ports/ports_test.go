package ports

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childEnv = "SEALGATE_TEST_PORTS"

// TestMain prints ports, in the child of TestProcessesShareNoPort.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	for range 3 * size {
		l, err := Listen()
		if err != nil {
			panic(err)
		}
		if _, err := os.Stdout.WriteString(l.Addr().String() + "\n"); err != nil {
			panic(err)
		}
		_ = l.Close() // another process could take it now
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the other ones are done
}

// TestProcessesShareNoPort: processes that take ports and listen later get different ones.
func TestProcessesShareNoPort(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		lines := bufio.NewScanner(out)
		for range 3 * size {
			if !lines.Scan() {
				t.Fatal("the process ended early")
			}
			addr := lines.Text()
			if seen[addr] || !strings.HasPrefix(addr, "127.0.0.1:") {
				t.Errorf("%s came twice", addr)
			}
			seen[addr] = true
		}
	}
}
