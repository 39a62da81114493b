//go:build cgo && linux

package hsm_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// remote is SoftHSM behind p11-kit's remoting: a library whose calls can hang and whose device can
// fail.
type remote struct {
	t      *testing.T
	tok    *softhsm.Token
	socket string
	cmd    *exec.Cmd
}

// client finds p11-kit's module that speaks to a server.
func client(t *testing.T) string {
	for _, pattern := range []string{"/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so",
		"/usr/lib/pkcs11/p11-kit-client.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("p11-kit-client.so is missing: apt-get install p11-kit p11-kit-modules")
	return ""
}

func newRemote(t *testing.T, tok *softhsm.Token) *remote {
	r := &remote{t: t, tok: tok, socket: filepath.Join(t.TempDir(), "s")}
	r.start()
	t.Cleanup(r.kill)
	t.Setenv("P11_KIT_SERVER_ADDRESS", "unix:path="+r.socket)
	return r
}

func (r *remote) start() {
	r.t.Helper()
	_ = os.Remove(r.socket)
	r.cmd = exec.Command("p11-kit", "server", "--foreground", "--name", r.socket, "--provider", r.tok.Lib, "pkcs11:")
	r.cmd.Env = append(os.Environ(), r.tok.Environ()...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatalf("%v: apt-get install p11-kit", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		// The socket's file exists before the server listens.
		if c, err := net.Dial("unix", r.socket); err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatal("p11-kit server does not listen")
		}
	}
}

// signal reaches the server and the child that it forks for each connection.
func (r *remote) signal(s syscall.Signal) { _ = syscall.Kill(-r.cmd.Process.Pid, s) }

func (r *remote) kill() {
	r.signal(syscall.SIGKILL)
	_ = r.cmd.Wait()
}

func TestRemoteHangAndDeath(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.RSA3072, "wrap")
	r := newRemote(t, tok)
	cfg := tok.Config()
	cfg.Lib, cfg.Deadline, cfg.Sessions = client(t), 2*time.Second, 3
	token, err := hsm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}()
	key, err := token.Key(hsm.KeySpec{Label: "wrap", OAEPHash: sha1})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	sealed, err := key.Encrypt(ctx, []byte("value"), nil)
	if err != nil {
		t.Fatal(err)
	}
	decrypts := func(when string) {
		t.Helper()
		if plain, err := key.Decrypt(ctx, sealed, nil); err != nil || string(plain) != "value" {
			t.Fatalf("%s: %q, %v", when, plain, err)
		}
	}
	decrypts("at first")

	r.signal(syscall.SIGSTOP)
	for range 2 {
		start := time.Now()
		_, err := key.Decrypt(ctx, sealed, nil)
		if took := time.Since(start); !errors.Is(err, hsm.ErrDeadline) || took > busy {
			t.Fatalf("stopped server: %v after %s", err, took)
		}
	}
	r.signal(syscall.SIGCONT)
	for deadline := time.Now().Add(time.Minute); token.Stats().Stuck > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls hang after SIGCONT", token.Stats().Stuck)
		}
	}
	decrypts("after SIGCONT")

	r.kill()
	// The client's library lists no slot, or fails with the connection that it still had.
	if _, err := key.Decrypt(ctx, sealed, nil); !errors.Is(err, hsm.ErrTokenGone) && !errors.Is(err, hsm.ErrDevice) {
		t.Fatalf("without a server: %v; want ErrTokenGone or ErrDevice", err)
	}
	r.start()
	decrypts("after the server was started again")

	// The protocol carries no AES-GCM parameters: the mechanism is missing, the device is not
	// broken.
	tok.Key(t, hsm.AES256, "aes")
	gcm, err := token.Key(hsm.KeySpec{Label: "aes"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gcm.Describe(ctx); !errors.Is(err, hsm.ErrMechanism) {
		t.Errorf("AES-GCM through p11-kit: %v, want ErrMechanism", err)
	}
}
