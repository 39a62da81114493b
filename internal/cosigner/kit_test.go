package cosigner

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// emulator is a device with keys by name, which can be unavailable or sign wrongly.
type emulator struct {
	mu    sync.Mutex
	keys  map[string]crypto.Signer
	away  bool
	wrong bool
	calls int
}

func (d *emulator) set(change func(*emulator)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *emulator) Parameters() device.Parameters { return device.Parameters{Key: []string{"key"}} }

func (d *emulator) Connect(device.Settings) (device.Connection, error) { return d, nil }

func (d *emulator) Select(p device.Params) (device.Ref, error) {
	return device.Ref{Name: p["key"]}, nil
}

func (d *emulator) Timeout() time.Duration { return time.Second }

func (d *emulator) Close() error { return nil }

func (d *emulator) Open(_ context.Context, r device.Ref) (device.Key, device.Facts, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return nil, device.Facts{}, errAway
	}
	s := d.keys[r.Name]
	if s == nil {
		return nil, device.Facts{}, seals.Fail(seals.KeyGone, errors.New("no such key"), "restore it")
	}
	f := device.Facts{Identity: "emulated:" + r.Name, State: "enabled", Uses: []device.Usage{device.Sign, device.Verify}}
	switch k := s.Public().(type) {
	case *ecdsa.PublicKey:
		f.Spec.Type = map[string]keys.Type{"P-256": keys.ECDSAP256, "P-384": keys.ECDSAP384,
			"P-521": keys.ECDSAP521}[k.Params().Name]
	case *rsa.PublicKey:
		f.Spec.Type = keys.RSA2048
	}
	var err error
	f.Public, err = x509.MarshalPKIXPublicKey(s.Public())
	return emulated{d, s}, f, err
}

var errAway = seals.Fail(seals.Unreachable, errors.New("no answer"), "check it")

type emulated struct {
	d *emulator
	s crypto.Signer
}

func (k emulated) SignDigest(_ context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	k.d.calls++
	switch {
	case k.d.away:
		return nil, errAway
	case k.d.wrong:
		digest = make([]byte, len(digest))
	}
	return k.s.Sign(rand.Reader, digest, o)
}

// harness is a store with a transcript, ceremonies on it, and a registry of a device.
type harness struct {
	t      *testing.T
	disk   *inmem.Store
	b      *barrier.Barrier
	m      *ceremony.Manager
	device *emulator
	r      *device.Registry
	mounts []mount.Entry
	log    *logged
}

// logged is a log that a test reads while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var admin = ceremony.Starter{DisplayName: "admin", Accessor: "a1"}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, disk: inmem.New(), device: &emulator{keys: map[string]crypto.Signer{}}, log: &logged{}}
	t.Cleanup(func() { _ = h.disk.Close() })
	root, err := secret.Random(rand.Reader, 32)
	if err != nil {
		t.Fatal(err)
	}
	b, tx, err := barrier.Format(h.disk, root, 1, barrier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	op, err := ceremony.FormatTranscript(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tx.Put(op.Key, op.Value)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.b = b
	h.m = ceremony.New(ceremony.Config{Host: node{h}, Keys: node{h}, Lock: &sync.Mutex{}, Now: time.Now, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(h.log, nil))})
	hub := device.NewHub(device.Options{Drivers: map[string]device.Driver{"emulator": h.device}})
	h.r = hub.Open(b)
	t.Cleanup(func() { _ = h.r.Close() })
	ec := func(c elliptic.Curve) crypto.Signer {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	h.device.keys["notary"], h.device.keys["second"] = ec(elliptic.P256()), ec(elliptic.P384())
	h.managed("notary")
	h.managed("second")
	return h
}

// managed configures the key of a name.
func (h *harness) managed(name string, usages ...device.Usage) {
	h.t.Helper()
	if len(usages) == 0 {
		usages = device.DefaultUsages()
	}
	if err := h.r.Write(h.t.Context(), device.Entry{Face: device.Managed, Type: "emulator", Name: name}, device.Change{
		Given: device.Params{"key": name}, Entry: func(e *device.Entry) { e.Usages = usages }}); err != nil {
		h.t.Fatal(err)
	}
}

// signer is one role's.
func (h *harness) signer() *Signer {
	return New(Config{Ceremonies: h.m, Barrier: h.b, Devices: h.r, Mounts: func() []mount.Entry { return h.mounts },
		Log: slog.New(slog.NewTextHandler(h.log, nil)), Now: time.Now})
}

// run starts a role's signer, until the test or stop ends it.
func (h *harness) run(s *Signer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	h.t.Cleanup(stop)
	return stop
}

// act adds a record.
func (h *harness) act(reason string) {
	h.t.Helper()
	if err := ceremony.RecordAct(h.t.Context(), h.m, transcript.Record{Purpose: "act", Reason: reason}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) state(s *Signer) State {
	h.t.Helper()
	st, err := s.State(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

// signed lists the names of the device signatures of a record that verify.
func (h *harness) signed(seq uint64) (names []string) {
	h.t.Helper()
	all, err := ceremony.CoSignatures(h.t.Context(), h.m, fmt.Sprint(seq))
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := ceremony.Record(h.t.Context(), h.b, seq)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range all {
		if _, err := verify(r.Head(), s); err != nil {
			h.t.Errorf("record %d: %v", seq, err)
		}
		names = append(names, s.Name)
	}
	return names
}

// node is the node that the ceremonies act on: it attests nothing.
type node struct{ h *harness }

func (n node) Unsealed() (ceremony.Unsealed, error) { return ceremony.Unsealed{Barrier: n.h.b}, nil }

func (n node) ShareState() ceremony.ShareState { return ceremony.ShareState{Cluster: "c1"} }

func (n node) TranscriptHead(ctx context.Context) ([]byte, error) {
	raw, err := n.h.b.Get(ctx, ceremony.TranscriptHeadPath)
	if err != nil {
		return nil, nil //nolint:nilerr // there is none yet
	}
	return raw, nil
}

func (n node) ReplaceRecovery(context.Context, *barrier.Tx, *recovery.ShareSet) error { return errNone }

func (n node) RenewRoot(context.Context, *barrier.Tx, *recovery.ShareSet, bool) error { return errNone }

func (n node) EndPrevious(context.Context, *barrier.Tx) error { return errNone }

func (n node) Attest(context.Context, *barrier.Tx) error { return nil }

var errNone = errors.New("this node has no keys to change")
