package doctor

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// fakeSeal is a seal with every illness.
type fakeSeal struct {
	mu     sync.Mutex
	used   int // calls that send a PIN
	config seals.Config

	low, final, locked bool
	pinFails           error
	idFails            error
	fails              error
	unresponsive       chan struct{} // calls wait for it
	deaf               bool          // ignores additional data
	spoils             bool
	state              seals.KeyState
	describeFails      error
	slow               time.Duration
}

func (p *fakeSeal) Type(context.Context) (wrapping.WrapperType, error) { return "pkcs11", nil }
func (p *fakeSeal) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return &wrapping.WrapperConfig{}, nil
}

func (p *fakeSeal) call() {
	p.mu.Lock()
	p.used++
	p.mu.Unlock()
	if p.unresponsive != nil {
		<-p.unresponsive
	}
	time.Sleep(p.slow)
}

func (p *fakeSeal) KeyId(context.Context) (string, error) {
	p.call()
	return "pkcs11:object=k", p.idFails
}

func (p *fakeSeal) PINState(context.Context) (low, final, locked bool, err error) {
	return p.low, p.final, p.locked, p.pinFails
}

func (p *fakeSeal) Describe(context.Context) (seals.KeyState, error) { return p.state, p.describeFails }

func (p *fakeSeal) Encrypt(_ context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	p.call()
	opts, err := wrapping.GetOpts(o...)
	return &wrapping.BlobInfo{Ciphertext: bytes.Clone(b), Iv: opts.WithAad}, errors.Join(err, p.fails)
}

func (p *fakeSeal) Decrypt(_ context.Context, blob *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	p.call()
	opts, err := wrapping.GetOpts(o...)
	if err != nil {
		return nil, err
	}
	if !p.deaf && !bytes.Equal(opts.WithAad, blob.Iv) {
		return nil, seals.Fail(seals.Corrupt, errors.New("other data"), "check the device")
	}
	out := bytes.Clone(blob.Ciphertext)
	if p.spoils {
		out[0] ^= 1
	}
	return out, nil
}

const hsm = "seal \"pkcs11\" \"hsm\" {\n  lib = \"DIR/lib.so\"\n  token_label = \"t\"\n  key_label = \"k\"\n  pin = " +
	"\"PIN-that-never-shows\"\n  generate_key = \"true\"\n}\n"

func (p *fakeSeal) admit(t *testing.T) *room {
	r := newRoom(t)
	r.file("lib.so", "", 0o755)
	r.Factories = map[string]seals.Factory{"pkcs11": func(c seals.Config) (wrapping.Wrapper, error) {
		p.config = c
		return p, nil
	}}
	return r
}

// TestSeals checks that each problem of a seal is found, with class and remedy.
func TestSeals(t *testing.T) {
	t.Parallel()
	denied := seals.Fail(seals.Denied, errors.New("no such right"), "grant it")
	unreachable := seals.Fail(seals.Unreachable, errors.New("no route"), "plug it in")
	gone := seals.Fail(seals.KeyGone, errors.New("nothing found"), "restore it")
	for _, c := range []struct {
		name  string
		p     *fakeSeal
		level Level
		says  string
		class seals.Class
		used  int // -1: any
	}{
		{"well", &fakeSeal{}, OK, "all of its tries", "", -1},
		{"low", &fakeSeal{low: true}, Warning, "CKF_USER_PIN_COUNT_LOW", "", -1},
		{"final try", &fakeSeal{low: true, final: true}, Error, "CKF_USER_PIN_FINAL_TRY", "", 0},
		{"locked", &fakeSeal{locked: true, final: true}, Error, "CKF_USER_PIN_LOCKED", "", 0},
		{"no token", &fakeSeal{pinFails: seals.Fail(seals.KeyGone, errors.New("no token"), "insert it")}, Error,
			"its token cannot be found", seals.KeyGone, 0},
		{"unreachable", &fakeSeal{idFails: unreachable}, Error, "its key cannot be found", seals.Unreachable, 1},
		{"may not ask, may use", &fakeSeal{idFails: denied}, OK, "it wraps", "", -1},
		{"may not use", &fakeSeal{fails: denied}, Error, "it does not wrap", seals.Denied, 2},
		{"spoils", &fakeSeal{spoils: true}, Error, "other data than it wrapped", "", -1},
		{"deaf", &fakeSeal{deaf: true}, Error, "other additional data", "", -1},
		{"key goes", &fakeSeal{state: seals.KeyState{State: "pending deletion",
			DeletionDate: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}}, Error,
			"will be destroyed at 2027-01-02T03:04:05Z", "", -1},
		{"key is fine", &fakeSeal{state: seals.KeyState{State: "enabled", Latest: "7", Protection: "hsm"}}, OK,
			"state enabled, newest version 7, protection hsm", "", -1},
		{"degraded", &fakeSeal{
			state: seals.KeyState{Detail: map[string]string{"degraded": "kms:DescribeKey is not allowed"}}}, Warning,
			"kms:DescribeKey is not allowed", "", -1},
		{"cannot be asked", &fakeSeal{describeFails: denied}, Error, "its key cannot be described", seals.Denied, -1},
		{"will be made", &fakeSeal{idFails: gone}, OK, "the server will generate it", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := c.p.admit(t)
			f := want(t, r.run(memory+quiet+hsm), c.level, "seal", c.says)
			if f.Class != c.class || f.About != "hsm" {
				t.Errorf("%+v", f)
			}
			if c.used >= 0 && c.p.used != c.used {
				t.Errorf("%d calls to the device; want %d", c.p.used, c.used)
			}
			if c.p.config.Params["generate_key"] != "" || c.p.config.Getenv("SEALGATE_HSM_GENERATE_KEY") != "" {
				t.Error("the seal may make keys")
			}
		})
	}
}

// TestMissingKey checks that a missing key is an error, and an unencrypted PIN a warning.
func TestMissingKey(t *testing.T) {
	t.Parallel()
	p := &fakeSeal{idFails: seals.Fail(seals.KeyGone, errors.New("nothing found"), "restore it")}
	r := p.admit(t)
	report := r.run(memory + quiet + strings.Replace(hsm, "  generate_key = \"true\"\n", "", 1))
	if f := want(t, report, Error, "seal", "its key cannot be found"); f.Class != seals.KeyGone ||
		f.Remedy != "restore it" {
		t.Errorf("%+v", f)
	}
	want(t, report, Warning, "files", "pin is unencrypted")
}

// TestUnresponsiveSeal checks that a seal which never responds is an error after the deadline.
func TestUnresponsiveSeal(t *testing.T) {
	t.Parallel()
	p := &fakeSeal{unresponsive: make(chan struct{})}
	t.Cleanup(func() { close(p.unresponsive) })
	r := p.admit(t)
	r.Deadline = 50 * time.Millisecond
	if f := want(t, r.run(memory+quiet+hsm), Error, "seal", "no response within 50ms"); f.Class != seals.Unreachable {
		t.Errorf("%+v", f)
	}
}

// TestWritableLibrary checks that a library which others can write is an error.
func TestWritableLibrary(t *testing.T) {
	t.Parallel()
	p := &fakeSeal{}
	r := p.admit(t)
	r.file("lib.so", "", 0o777)
	want(t, r.run(memory+quiet+hsm), Error, "files", "other users may write to it")
}
