package kmsv2

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kms "k8s.io/kms/apis/v2"

	"github.com/sealgate/sealgate/internal/fault"
)

// testKey is a key of versions in memory, which a test can break.
type testKey struct {
	mu     sync.Mutex
	latest int
	name   string
	err    error         // of every call
	hang   chan struct{} // calls wait for it, or for their deadline
	broken bool          // decrypts to another text
	proofs int           // encryptions of proofs
	calls  []Call        // of others
	long   int           // bytes that ciphertexts have too many
	slow   func()        // runs in every call
}

func newTestKey() *testKey { return &testKey{latest: 1, name: "k"} }

func (k *testKey) enter(ctx context.Context) error {
	k.mu.Lock()
	err, hang, slow := k.err, k.hang, k.slow
	k.mu.Unlock()
	if slow != nil {
		slow()
	}
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (k *testKey) aead(version int) cipher.AEAD {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", k.name, version))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

func (k *testKey) Newest(ctx context.Context) (Pin, error) {
	if err := k.enter(ctx); err != nil {
		return Pin{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return Pin{k.latest, KeyID("cluster", "transit", k.name, k.latest, []byte{byte(k.latest)})}, nil
}

func (k *testKey) Encrypt(ctx context.Context, c Call, p Pin, plaintext, aad []byte) ([]byte, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.UID == proofUID && c.Peer == "" {
		k.proofs++
	} else {
		k.calls = append(k.calls, c)
	}
	text := AppendCiphertext(nil, p.Version, k.aead(p.Version).Seal(nil, nil, plaintext, aad))
	return append(text, bytes.Repeat([]byte("x"), k.long)...), nil
}

func (k *testKey) Decrypt(ctx context.Context, _ Call, _ string, ciphertext, aad []byte) ([]byte, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	version, blob, err := SplitCiphertext(ciphertext)
	if err != nil {
		return nil, err
	}
	plain, err := k.aead(version).Open(nil, nil, blob, aad)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cipher: message authentication failed")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken {
		plain[0] ^= 1
	}
	return plain, nil
}

func (k *testKey) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// plugin is a service on a socket, and an API server's connection to it.
type plugin struct {
	*testing.T
	kms.KeyManagementServiceClient
	key    *testKey
	clock  *clock
	socket string
	server *Server
}

func newPlugin(t *testing.T, o Options) *plugin {
	p := &plugin{T: t, key: newTestKey(), clock: newClock()}
	o.Key, o.Name, o.Now = p.key, "test", p.clock.now
	p.socket = filepath.Join(t.TempDir(), "kms.sock")
	var err error
	if p.server, err = Listen(t.Context(), p.socket, nil, New(o)); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.server.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(p.server.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	p.KeyManagementServiceClient = dial(t, p.socket)
	return p
}

func dial(t *testing.T, socket string) kms.KeyManagementServiceClient {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return kms.NewKeyManagementServiceClient(c)
}

func (p *plugin) status() *kms.StatusResponse {
	p.Helper()
	s, err := p.Status(p.Context(), &kms.StatusRequest{})
	if err != nil {
		p.Fatalf("Status: %v", err)
	}
	return s
}

func (p *plugin) encrypt(text string) *kms.EncryptResponse {
	p.Helper()
	e, err := p.Encrypt(p.Context(), &kms.EncryptRequest{Plaintext: []byte(text), Uid: "uid-1"})
	if err != nil {
		p.Fatalf("Encrypt: %v", err)
	}
	return e
}

func (p *plugin) decrypt(e *kms.EncryptResponse) (string, error) {
	d, err := p.Decrypt(p.Context(), &kms.DecryptRequest{Ciphertext: e.Ciphertext, KeyId: e.KeyId, Uid: "uid-2"})
	return string(d.GetPlaintext()), err
}

func (p *plugin) wantCode(what string, err error, want codes.Code) {
	p.Helper()
	if got := status.Code(err); got != want {
		p.Errorf("%s: %v, want %v (%v)", what, got, want, err)
	}
}

func TestRotationIsPinnedToStatus(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	first := p.status()
	if first.Version != "v2" || first.Healthz != "ok" || !strings.HasPrefix(first.KeyId, "sg2-") {
		t.Fatalf("status %v", first)
	}
	old := p.encrypt("seed")
	if old.KeyId != first.KeyId || len(old.Annotations) != 0 {
		t.Errorf("key_id %q after status %q, annotations %v", old.KeyId, first.KeyId, old.Annotations)
	}
	p.key.set(func() { p.key.latest = 2 })
	if again := p.encrypt("seed"); again.KeyId != first.KeyId {
		t.Error("Encrypt uses a version that no Status has returned")
	}
	p.clock.move(lookEvery) // the last proof still counts
	second := p.status()
	if second.KeyId == first.KeyId {
		t.Fatal("the rotated key has the old key_id")
	}
	if e := p.encrypt("seed"); e.KeyId != second.KeyId || !bytes.HasPrefix(e.Ciphertext, []byte("vault:v2:")) {
		t.Errorf("%q under %q after status %q", e.Ciphertext, e.KeyId, second.KeyId)
	}
	if text, err := p.decrypt(old); err != nil || text != "seed" {
		t.Errorf("the old version opens to %q, %v", text, err)
	}
}

func TestCiphertextBelongsToItsKeyID(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	one := p.encrypt("seed")
	p.key.set(func() { p.key.latest = 2 })
	p.clock.move(time.Minute)
	two := p.status()
	swapped := &kms.EncryptResponse{Ciphertext: one.Ciphertext, KeyId: two.KeyId}
	_, err := p.decrypt(swapped)
	p.wantCode("another key_id", err, codes.InvalidArgument)
	for what, r := range map[string]*kms.DecryptRequest{
		"no ciphertext":       {KeyId: one.KeyId},
		"long ciphertext":     {KeyId: one.KeyId, Ciphertext: bytes.Repeat([]byte("a"), 1025)},
		"no key_id":           {Ciphertext: one.Ciphertext},
		"long key_id":         {Ciphertext: one.Ciphertext, KeyId: keyIDPrefix + strings.Repeat("a", 1024)},
		"foreign key_id":      {Ciphertext: one.Ciphertext, KeyId: "1"},
		"foreign annotations": {Ciphertext: one.Ciphertext, KeyId: one.KeyId, Annotations: map[string][]byte{"a.b": nil}},
		"foreign ciphertext":  {Ciphertext: []byte("k8s:1"), KeyId: one.KeyId},
		"other spelling": {Ciphertext: bytes.Replace(one.Ciphertext, []byte("vault:v1:"), []byte("vault:v01:"), 1),
			KeyId: one.KeyId},
	} {
		_, err := p.Decrypt(t.Context(), r)
		p.wantCode(what, err, codes.InvalidArgument)
	}
}

func TestForeignObjectsOpenDuringAMigration(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{Foreign: true})
	blob := p.key.aead(1).Seal(nil, nil, []byte("seed"), nil)
	foreign := &kms.EncryptResponse{Ciphertext: AppendCiphertext(nil, 1, blob), KeyId: "1"}
	if text, err := p.decrypt(foreign); err != nil || text != "seed" {
		t.Errorf("an object of another plugin opens to %q, %v", text, err)
	}
	own := p.encrypt("seed")
	own.KeyId = "1"
	_, err := p.decrypt(own)
	p.wantCode("an own object without its key_id", err, codes.InvalidArgument)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	for what, text := range map[string]string{"empty": "", "long": strings.Repeat("a", maxPlaintext+1)} {
		_, err := p.Encrypt(t.Context(), &kms.EncryptRequest{Plaintext: []byte(text)})
		p.wantCode(what, err, codes.InvalidArgument)
	}
	p.status()
	p.key.set(func() { p.key.long = 1024 })
	_, err := p.Encrypt(t.Context(), &kms.EncryptRequest{Plaintext: []byte("seed")})
	p.wantCode("a ciphertext that the API server drops", err, codes.Internal)
	_, err = p.Encrypt(t.Context(), &kms.EncryptRequest{Plaintext: make([]byte, 65<<10)})
	p.wantCode("a message above the limit", err, codes.ResourceExhausted)
}

// TestWhatStopsWrites: a gRPC error of Status ends the API server's writes, a text of healthz does
// not.
func TestWhatStopsWrites(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "the device does not answer")
	for _, c := range []struct {
		name   string
		change func(k *testKey)
		budget time.Duration
		after  time.Duration
		code   codes.Code
		text   string // of healthz
	}{
		{"away, no budget", func(k *testKey) { k.err = away }, 0, time.Minute, codes.Unavailable, ""},
		{"away, within the budget", func(k *testKey) { k.err = away }, 10 * time.Minute, time.Minute, codes.OK,
			"the key does not answer"},
		{"away, beyond the budget", func(k *testKey) { k.err = away }, 10 * time.Minute, 11 * time.Minute,
			codes.Unavailable, ""},
		{"sealed, within the budget", func(k *testKey) { k.err = fault.New(fault.Sealed, "sealed") }, time.Hour,
			time.Minute, codes.OK, "the key does not answer"},
		{"denied", func(k *testKey) { k.err = fault.New(fault.Denied, "permission denied") }, time.Hour, time.Minute,
			codes.PermissionDenied, ""},
		{"deleted", func(k *testKey) { k.err = fault.New(fault.NotFound, "no such key") }, time.Hour, time.Minute,
			codes.FailedPrecondition, ""},
		{"wrong", func(k *testKey) { k.broken = true }, time.Hour, time.Minute, codes.Internal, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlugin(t, Options{Budget: c.budget})
			first := p.status()
			p.key.set(func() { c.change(p.key) })
			p.clock.move(c.after)
			s, err := p.Status(t.Context(), &kms.StatusRequest{})
			p.wantCode("Status", err, c.code)
			if c.code == codes.OK && (!strings.Contains(s.Healthz, c.text) || s.KeyId != first.KeyId) {
				t.Errorf("healthz %q, key_id %q, want %q and %q", s.Healthz, s.KeyId, c.text, first.KeyId)
			}
			p.key.set(func() { p.key.err, p.key.broken = nil, false })
			p.clock.move(time.Minute)
			if s := p.status(); s.Healthz != "ok" {
				t.Errorf("healthz %q once the key is back", s.Healthz)
			}
		})
	}
}

func TestSlowKeyIsHealthzText(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	p.key.set(func() { p.key.slow = func() { p.clock.move(300 * time.Millisecond) } })
	if s := p.status(); !strings.Contains(s.Healthz, "slow") || s.KeyId == "" {
		t.Errorf("healthz %q, key_id %q", s.Healthz, s.KeyId)
	}
}

func TestHangingKeyEndsByTheDeadline(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{Deadline: 50 * time.Millisecond})
	p.status()
	hang := make(chan struct{})
	defer close(hang)
	p.key.set(func() { p.key.hang = hang })
	p.clock.move(time.Minute)
	_, err := p.Status(t.Context(), &kms.StatusRequest{})
	p.wantCode("Status", err, codes.Unavailable)
	_, err = p.Encrypt(t.Context(), &kms.EncryptRequest{Plaintext: []byte("seed")})
	p.wantCode("Encrypt", err, codes.DeadlineExceeded)
}

// TestProofsAreShared: many callers of Status cost one proof, and a fresh one is not repeated.
func TestProofsAreShared(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	hang := make(chan struct{})
	p.key.set(func() { p.key.hang = hang })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.Status(t.Context(), &kms.StatusRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	close(hang)
	wg.Wait()
	p.status()
	p.key.mu.Lock()
	defer p.key.mu.Unlock()
	if p.key.proofs != 1 {
		t.Errorf("%d proofs for 21 calls of Status", p.key.proofs)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	p := newPlugin(t, Options{})
	info, err := os.Stat(p.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	p.encrypt("seed")
	p.key.mu.Lock()
	if c := p.key.calls[0]; c.UID != "uid-1" || c.Peer != fmt.Sprint(os.Getuid()) {
		t.Errorf("the caller is %+v", c)
	}
	p.key.mu.Unlock()
	service := New(Options{Key: p.key})
	if _, err := Listen(t.Context(), p.socket, nil, service); err == nil ||
		!strings.Contains(err.Error(), "another process") {
		t.Errorf("the socket of a living process: %v", err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "not a socket", filepath.Join(open, "s"): "other users", "@abstract": "absolute",
		filepath.Join(dir, "none", "s"): "make it with mode 0700",
	} {
		if _, err := Listen(t.Context(), path, nil, service); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestStaleSocketIsTakenOver: the socket of a process that was killed does not block the next one.
func TestStaleSocketIsTakenOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kms.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), path, nil, New(Options{Key: newTestKey()}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestOtherUsersAreRefused: the kernel says who calls, and the mode of the socket is not all that
// protects it.
func TestOtherUsersAreRefused(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, _, err := (&peerCreds{}).ServerHandshake(a); err == nil {
		t.Error("a connection without a known user is admitted")
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	me := uint32(os.Getuid())
	if _, _, err := (&peerCreds{[]uint32{me + 1}}).ServerHandshake(in); err == nil {
		t.Error("a process of another user is admitted")
	}
	if _, _, err := (&peerCreds{[]uint32{me}}).ServerHandshake(in); err != nil {
		t.Error(err)
	}
}

func TestKeyID(t *testing.T) {
	t.Parallel()
	base := KeyID("c", "transit/", "k", 1, []byte("f"))
	if want := "sg2-ekr4ze4hnitkq4qlytrvy6mz7zvlythr"; base != want {
		t.Errorf("key_id %s, want %s: the API server has stored it with every object", base, want)
	}
	if base != KeyID("c", "transit", "k", 1, []byte("f")) {
		t.Error("a slash makes another key_id")
	}
	for what, id := range map[string]string{
		"cluster": KeyID("d", "transit", "k", 1, []byte("f")), "mount": KeyID("c", "t", "k", 1, []byte("f")),
		"name": KeyID("c", "transit", "l", 1, []byte("f")), "version": KeyID("c", "transit", "k", 2, []byte("f")),
		"fingerprint": KeyID("c", "transit", "k", 1, []byte("g")), "border": KeyID("c", "transi", "tk", 1, []byte("f")),
	} {
		if id == base {
			t.Errorf("another %s has the same key_id", what)
		}
	}
	if got := HashOf("1"); got != "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" {
		t.Errorf("hash %s", got)
	}
}

func FuzzSplitCiphertext(f *testing.F) {
	for _, seed := range []string{"vault:v1:AAAA", "vault:v01:AAAA", "vault:v1:AAA=", "vault:v1:", "vault:v-1:AAAA"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		version, blob, err := SplitCiphertext(text)
		if err == nil && !bytes.Equal(AppendCiphertext(nil, version, blob), text) {
			t.Errorf("%q is another spelling of %q", text, AppendCiphertext(nil, version, blob))
		}
	})
}

// careless is a plugin of another maker that breaks the contract.
type careless struct {
	kms.UnimplementedKeyManagementServiceServer
	statuses int
}

func (c *careless) Status(context.Context, *kms.StatusRequest) (*kms.StatusResponse, error) {
	c.statuses++
	return &kms.StatusResponse{Version: "v1", Healthz: "fine", KeyId: fmt.Sprint(c.statuses)}, nil
}

func (c *careless) Encrypt(_ context.Context, r *kms.EncryptRequest) (*kms.EncryptResponse, error) {
	text := append(bytes.Clone(r.GetPlaintext()), make([]byte, 1024)...)
	return &kms.EncryptResponse{Ciphertext: text, KeyId: "other",
		Annotations: map[string][]byte{"Version": []byte("1")}}, nil
}

func (c *careless) Decrypt(_ context.Context, r *kms.DecryptRequest) (*kms.DecryptResponse, error) {
	return &kms.DecryptResponse{Plaintext: r.GetCiphertext()[:32]}, nil
}

// TestCheckFindsWhatBreaksTheContract runs the check on this plugin and on a careless one.
func TestCheckFindsWhatBreaksTheContract(t *testing.T) {
	t.Parallel()
	text := func(socket string) string {
		t.Helper()
		findings, err := Check(t.Context(), socket, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range findings {
			fmt.Fprintf(&b, "%s %s\n", f.Level, f.Text)
		}
		return b.String()
	}
	if got := text(newPlugin(t, Options{}).socket); strings.Contains(got, "fail") {
		t.Errorf("this plugin:\n%s", got)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	kms.RegisterKeyManagementServiceServer(s, &careless{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	got := text(path)
	for _, words := range []string{"warn socket: mode 0666", `fail Status: version is "v1"`,
		`warn Status: healthz is "fine"`,
		"fail Encrypt: the ciphertext has 1056 bytes", "fail Encrypt: the ciphertext contains the plaintext",
		`fail Encrypt: key_id is "other"`, `fail Encrypt: the annotation "Version"`,
		"fail Decrypt: a changed ciphertext opens", "warn Decrypt: the ciphertext opens under another key_id",
		"warn Status, second call: another key_id"} {
		if !strings.Contains(got, words) {
			t.Errorf("the check of a careless plugin does not say %q:\n%s", words, got)
		}
	}
	if got := text(filepath.Join(t.TempDir(), "none")); !strings.Contains(got, "fail socket") {
		t.Errorf("no socket:\n%s", got)
	}
}
