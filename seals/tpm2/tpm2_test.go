//go:build linux

package tpm2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chip is a virtual TPM: swtpm, with its state in a folder.
type chip struct {
	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	out  bytes.Buffer
	addr string // of its socket
}

func newChip(t testing.TB) *chip {
	t.Helper()
	program := testkit.Require(t, "swtpm")
	dir, err := os.MkdirTemp("", "tpm") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	c := &chip{t: t, dir: dir, addr: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		c.stop()
		_ = os.RemoveAll(dir)
	})
	c.start(program)
	return c
}

func (c *chip) start(program string) {
	c.t.Helper()
	c.cmd = exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--server", "type=unixio,path="+c.addr,
		"--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	testkit.Eventually(c.t, "swtpm listens", func() bool {
		conn, err := net.Dial("unix", c.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (c *chip) stop() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		c.cmd = nil
		_ = os.Remove(c.addr)
	}
}

func (c *chip) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// seal makes a seal on the chip; more are further parameters, in pairs.
func (c *chip) seal(more ...string) *Wrapper {
	c.t.Helper()
	params := map[string]string{"device": "unix:" + c.addr}
	for i := 0; i < len(more); i += 2 {
		params[more[i]] = more[i+1]
	}
	w, err := New(seals.Config{Name: "test", Type: "tpm2", Params: params, Getenv: func(string) string { return "" }})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = w.(*Wrapper).Close() })
	return w.(*Wrapper)
}

// run runs commands on the chip as another program does.
func (c *chip) run(f func(*device) error) {
	c.t.Helper()
	d, err := open("unix:"+c.addr, time.Now().Add(10*time.Second))
	if err == nil {
		err = f(d)
		_ = d.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{
		New: func(t *testing.T) *sealtest.Fixture {
			c := newChip(t)
			return &sealtest.Fixture{
				Wrapper: c.seal(), Other: c.seal("key_label", "other"),
				Again: func() wrapping.Wrapper { return c.seal() },
				Away: func() func() {
					c.stop()
					return func() { c.start("swtpm") }
				},
				Unresponsive: func() func() {
					c.signal(syscall.SIGSTOP)
					return func() { c.signal(syscall.SIGCONT) }
				},
			}
		},
		Stride: 3, Goroutines: 4,
		Without: sealtest.Unless("a TPM's key has no state, version, rate or user; other tests here clear the TPM, change "+
			"its registers and lock it out", "Other", "Again", "Away", "Unresponsive"),
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wrap(t *testing.T, w *Wrapper) *wrapping.BlobInfo {
	t.Helper()
	blob, err := w.Encrypt(t.Context(), []byte("root key"), wrapping.WithAad([]byte("aad")))
	must(t, err)
	return blob
}

func unwrap(t *testing.T, w *Wrapper, blob *wrapping.BlobInfo) error {
	t.Helper()
	plain, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("aad")))
	if err == nil && string(plain) != "root key" {
		t.Errorf("it opens to %q", plain)
	}
	return err
}

// TestRegisters: what was bound to a register does not open after the register was extended.
func TestRegisters(t *testing.T) {
	c := newChip(t)
	bound, other := c.seal("pcrs", "sha256:0,16", "pin", "1234"), c.seal("pcrs", "7")
	blob, elsewhere := wrap(t, bound), wrap(t, other)
	must(t, unwrap(t, bound, blob))
	c.run(func(d *device) error {
		digest := sha256.Sum256([]byte("another program was booted"))
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(16), Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]}}},
		}.Execute(d)
		return err
	})
	if err := unwrap(t, bound, blob); seals.ClassOf(err) != seals.Denied || !strings.Contains(err.Error(), "registers") {
		t.Errorf("after the register was extended: %v; want Denied, with the reason", err)
	}
	must(t, unwrap(t, other, elsewhere))
	fresh := wrap(t, bound)
	must(t, unwrap(t, bound, fresh)) // for the registers as they are now
}

// TestPIN: a wrong PIN is sent once, and none where a failure would lock the TPM out.
func TestPIN(t *testing.T) {
	c := newChip(t)
	right, wrong := c.seal("pin", "1234"), c.seal("pin", "4321")
	blob := wrap(t, right)
	must(t, unwrap(t, right, blob))
	failed := func() (n, most uint32) {
		c.run(func(d *device) error {
			s, err := begin(d, "")
			if err != nil {
				return err
			}
			defer s.end()
			l, err := s.lockout()
			n, most = l.failed, l.most
			return err
		})
		return n, most
	}
	before, _ := failed()
	for range 3 {
		err := unwrap(t, wrong, blob)
		f := seals.Classify(err)
		if f == nil || f.Class != seals.Denied || !f.Final || strings.Contains(err.Error(), "4321") {
			t.Fatalf("a wrong PIN: %v; want Denied, final, without the PIN", err)
		}
	}
	if now, _ := failed(); now != before+1 {
		t.Errorf("three attempts with a wrong PIN cost %d tries, want 1", now-before)
	}
	limits, err := right.Limits(t.Context())
	if err != nil || len(limits) != 1 || !strings.Contains(limits[0].Danger, "wrong authorisations were counted") {
		t.Errorf("%+v, %v", limits, err)
	}
	next := c.seal("pin", "4321")
	next.Succeed(wrong)
	_ = unwrap(t, next, blob)
	if now, _ := failed(); now != before+1 {
		t.Error("the wrapper of a reload sends the refused PIN again")
	}
	if err := unwrap(t, c.seal(), blob); seals.ClassOf(err) != seals.Misconfigured {
		t.Errorf("without a PIN: %v; want Misconfigured", err)
	}
	must(t, unwrap(t, right, blob))
	n, most := failed()
	for ; n+1 < most; n++ {
		if err := unwrap(t, c.seal("pin", "0000"), blob); seals.ClassOf(err) != seals.Denied {
			t.Fatal(err)
		}
	}
	err = unwrap(t, right, blob)
	f := seals.Classify(err)
	if f == nil || f.Class != seals.Denied || !f.Final || !strings.Contains(err.Error(), "locks") {
		t.Fatalf("before the lock-out: %v; want a refusal to send the PIN", err)
	}
	if st, err := right.Describe(t.Context()); err != nil || !strings.Contains(st.Detail["degraded"], "lock itself out") {
		t.Errorf("%+v, %v; want a warning of the lock-out", st, err)
	}
	must(t, unwrap(t, c.seal("pin", "1234", "pin_final_try", "true"), blob))
}

// TestClearedTPM: who clears the TPM destroys the key; the blob names the old one.
func TestClearedTPM(t *testing.T) {
	c := newChip(t)
	w := c.seal()
	blob := wrap(t, w)
	c.run(func(d *device) error {
		_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(d)
		return err
	})
	if err := unwrap(t, w, blob); seals.ClassOf(err) != seals.WrongKey {
		t.Errorf("%v; want WrongKey", err)
	}
}

// TestForgedObject: an object that the TPM did not make, or that was changed, is refused.
func TestForgedObject(t *testing.T) {
	c, mallory := newChip(t), newChip(t)
	w, other := c.seal(), mallory.seal()
	good, err := with(t.Context(), w, func(s *session) ([]byte, error) {
		return s.seal(seals.NewSecret(make([]byte, 32)), nil, 0)
	})
	must(t, err)
	forged, err := with(t.Context(), other, func(s *session) ([]byte, error) {
		return s.seal(seals.NewSecret(make([]byte, 32)), nil, 0)
	})
	must(t, err)
	open := func(raw []byte) error {
		b, ok := parseBlob(raw)
		if !ok {
			t.Fatalf("not parsed: %x", raw)
		}
		_, err := with(t.Context(), w, func(s *session) ([]byte, error) { return w.unseal(s, b) })
		return w.failure("decrypt", err)
	}
	if err := open(forged); seals.ClassOf(err) != seals.Corrupt {
		t.Errorf("another TPM's object: %v; want Corrupt", err)
	}
	good[len(good)-1] ^= 1
	if err := open(good); seals.ClassOf(err) != seals.Corrupt {
		t.Errorf("a changed object: %v; want Corrupt", err)
	}
}

func TestStanza(t *testing.T) {
	for name, c := range map[string]struct{ key, value, want string }{
		"defaults": {}, "registers": {"pcrs", "sha256:0, 7,23", ""}, "no register": {"pcrs", "24", "0 to 23"},
		"another bank": {"pcrs", "sha1:0", "sha256"}, "relative device": {"device", "tpm0", "absolute"},
		"long PIN":   {"pin", strings.Repeat("MARK", 9), "limit"},
		"long label": {"key_label", strings.Repeat("l", 33), "limit"},
		"final try":  {"pin_final_try", "maybe", "true or false"}, "unknown": {"pcr", "1", "pcr"},
	} {
		params := map[string]string{}
		if c.key != "" {
			params[c.key] = c.value
		}
		_, err := New(seals.Config{Name: "n", Params: params, Getenv: func(string) string { return "" }})
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "MARK") || seals.ClassOf(err) != seals.Misconfigured) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

func TestNoTPM(t *testing.T) {
	w, err := New(seals.Config{Name: "n", Params: map[string]string{"device": "/nonexistent/tpm"},
		Getenv: func(string) string { return "" }})
	must(t, err)
	if _, err := w.Encrypt(context.Background(), []byte("x")); seals.ClassOf(err) != seals.Unreachable {
		t.Errorf("%v; want Unreachable", err)
	}
}

func FuzzBlob(f *testing.F) {
	raw, err := sealed{true, 1 << 7, []byte("public"), []byte("private")}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, ok := parseBlob(raw)
		if !ok {
			return
		}
		if again, err := b.marshal(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is parsed and marshals to %x, %v", raw, again, err)
		}
	})
}
