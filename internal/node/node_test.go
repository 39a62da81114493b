package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/doors/kv"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var admin = Starter{Accessor: "accessor", DisplayName: "root"}

// house is a storage and a seal that outlive the nodes of a test.
type house struct {
	t     *testing.T
	store storage.Store
	wrap  *flaky
	mu    sync.Mutex
	now   time.Time
}

// flaky is a seal that fails as it is told.
type flaky struct {
	wrapping.Wrapper
	mu   sync.Mutex
	fail error
}

func (f *flaky) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *flaky) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *flaky) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Wrapper.Encrypt(ctx, b, o...)
}

func (f *flaky) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Wrapper.Decrypt(ctx, b, o...)
}

func newHouse(t *testing.T) *house {
	t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key": strings.Repeat("ab", 32), "current_key_id": "k1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, store: inmem.New(), wrap: &flaky{Wrapper: w}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) autoSeals() *seals.Set {
	return h.set(seals.Seal{Name: "box", Type: "static", Wrapper: h.wrap})
}

func (h *house) peopleSeals() *seals.Set {
	w, err := shamir.New(seals.Config{Name: "shamir", Type: "shamir"})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.set(seals.Seal{Name: "shamir", Type: "shamir", Wrapper: w})
}

func (h *house) set(m ...seals.Seal) *seals.Set {
	s, err := seals.NewSet(m, seals.Options{Deadline: time.Second})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// start runs a node until the test ends or stop is called.
func (h *house) start(set *seals.Set) (n *Node, stop func()) {
	h.t.Helper()
	return h.startWith(set, slog.New(slog.NewTextHandler(h.t.Output(), nil)))
}

func (h *house) startWith(set *seals.Set, log *slog.Logger) (n *Node, stop func()) {
	h.t.Helper()
	n, err := New(Config{
		Store: h.store, StorageType: "inmem", Seals: set, Doors: map[string]doors.Factory{"kv": kv.New}, Now: h.clock,
		Log:    log,
		Timing: Timing{Probe: 20 * time.Millisecond, ProbeFailing: 5 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 4 * time.Millisecond},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return n, stop
}

// eventually waits for what a node does by itself.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func isActive(n *Node) func() bool { return func() bool { _, err := n.Active(); return err == nil } }

func (h *house) write(n *Node, key, value string) {
	h.t.Helper()
	a, err := n.Active()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := a.Store().Commit(h.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("test/"+key, []byte(value))}}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) mustRead(n *Node, key, want string) {
	h.t.Helper()
	a, err := n.Active()
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := a.Store().Get(h.t.Context(), "test/"+key)
	if err != nil || string(got) != want {
		h.t.Fatalf("read %q: %q, %v; want %q", key, got, err, want)
	}
}

func TestInitUnderAutoSeal(t *testing.T) {
	h := newHouse(t)
	n, stop := h.start(h.autoSeals())
	st, err := n.SealStatus(t.Context())
	if err != nil || st.Initialized || !st.Sealed || !st.RecoverySeal || st.Type != "static" {
		t.Fatalf("fresh: %+v, %v", st, err)
	}
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 5, RecoveryThreshold: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.RecoveryKeys) != 5 || len(res.Keys) != 0 || !strings.HasPrefix(res.RootToken, "s.") {
		t.Fatalf("%d recovery keys, %d keys, token %q", len(res.RecoveryKeys), len(res.Keys), res.RootToken)
	}
	if !isActive(n)() {
		t.Fatal("a node that unseals by itself is not active after its initialisation")
	}
	h.write(n, "a", "1")
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err == nil || err.Error() != "Vault is already initialized" {
		t.Errorf("a second time: %v", err)
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed after a restart", isActive(n2))
	h.mustRead(n2, "a", "1")
	st, _ = n2.SealStatus(t.Context())
	if st.Threshold != 3 || st.Shares != 5 || st.ClusterID == "" || st.ClusterName == "" {
		t.Errorf("after a restart: %+v", st)
	}
}

func TestInitRefuses(t *testing.T) {
	h := newHouse(t)
	auto, _ := h.start(h.autoSeals())
	people, _ := h.start(h.peopleSeals())
	for _, c := range []struct {
		n    *Node
		req  InitRequest
		want string
	}{
		{auto, InitRequest{SecretShares: 5, SecretThreshold: 3}, "parameters secret_shares,secret_threshold not applicable to seal type static"},
		{people, InitRequest{RecoveryShares: 5, SecretShares: 1, SecretThreshold: 1}, "parameters recovery_shares not applicable to seal type shamir"},
		{people, InitRequest{}, "invalid seal configuration: shares must be at least one"},
		{people, InitRequest{SecretShares: 2, SecretThreshold: 1}, "invalid seal configuration: threshold must be greater than one for multiple shares"},
		{auto, InitRequest{RecoveryShares: 2, RecoveryThreshold: 3}, "invalid recovery configuration: threshold cannot be larger than shares"},
		{auto, InitRequest{RecoveryShares: 256, RecoveryThreshold: 3}, "invalid recovery configuration: shares must be less than 256"},
	} {
		_, err := c.n.Init(t.Context(), c.req)
		if !fault.Is(err, fault.Invalid) || err.Error() != c.want {
			t.Errorf("%+v: %v, want %q", c.req, err, c.want)
		}
	}
	if ok, err := auto.Initialized(t.Context()); ok || err != nil {
		t.Errorf("refused requests left %v, %v", ok, err)
	}
}

func TestInitWithABrokenSealWritesNothing(t *testing.T) {
	h := newHouse(t)
	n, _ := h.start(h.autoSeals())
	h.wrap.set(seals.Fail(seals.Denied, errors.New("PIN"), "mend the PIN"))
	_, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "denied") || !strings.Contains(err.Error(), "mend the PIN") {
		t.Errorf("%v; want class and remedy", err)
	}
	names, err := h.store.List(t.Context(), "", "", 0)
	if err != nil || len(names) > 0 {
		t.Errorf("storage holds %v, %v", names, err)
	}
	h.wrap.set(nil)
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Errorf("after the seal was mended: %v", err)
	}
}

func TestShamirLife(t *testing.T) {
	h := newHouse(t)
	n, stop := h.start(h.peopleSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	if isActive(n)() {
		t.Fatal("a Shamir node is unsealed by its initialisation")
	}
	unseal := func(n *Node, shares ...*secret.Bytes) error {
		for _, s := range shares {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := unseal(n, res.Keys[0], res.Keys[0]); err != nil || isActive(n)() {
		t.Fatalf("one share twice: %v, active %v", err, isActive(n)())
	}
	bad := res.Keys[1].Clone()
	bad.Expose()[0] ^= 1
	if err := unseal(n, bad); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong share: %v", err)
	}
	if st, _ := n.SealStatus(t.Context()); st.Progress != 1 || st.Nonce == "" || st.Threshold != 2 || st.Shares != 3 {
		t.Errorf("a wrong share spoilt the right one: %+v", st)
	}
	if err := unseal(n, res.Keys[2]); err != nil || !isActive(n)() {
		t.Fatalf("two shares: %v", err)
	}
	h.write(n, "a", "1")
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatalf("rotating the root key needs nobody's shares: %v", err)
	}
	if err := n.Seal(t.Context()); err != nil || isActive(n)() {
		t.Fatalf("seal: %v", err)
	}
	stop()
	n2, _ := h.start(h.peopleSeals())
	if err := unseal(n2, res.Keys[1], res.Keys[2]); err != nil {
		t.Fatalf("the same shares after the root key was rotated: %v", err)
	}
	h.mustRead(n2, "a", "1")
}

// rekey carries a rekey through and returns the new shares.
func (h *house) rekey(n *Node, t recovery.Target, params recovery.Params, shares []*secret.Bytes) []*secret.Bytes {
	h.t.Helper()
	st, _, err := n.RekeyStart(h.t.Context(), t, params, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	for i, s := range shares {
		_, res, err := n.RekeyGive(h.t.Context(), t, st.Nonce, s)
		if err != nil {
			h.t.Fatal(err)
		}
		if (res != nil) != (i == len(shares)-1) {
			h.t.Fatalf("after share %d: result %v", i+1, res)
		}
		if res != nil {
			return res.Keys
		}
	}
	return nil
}

func TestRekeyBarrierUnderShamir(t *testing.T) {
	h := newHouse(t)
	n, stop := h.start(h.peopleSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.Keys[:2] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.write(n, "a", "1")
	fresh := h.rekey(n, recovery.Barrier, recovery.Params{Shares: 5, Threshold: 3}, res.Keys[:2])
	if len(fresh) != 5 {
		t.Fatalf("%d new shares", len(fresh))
	}
	h.mustRead(n, "a", "1")
	h.wait(11 * time.Minute) // the answer had its time: the old shares end
	n.wipeAnswers(t.Context())
	stop()
	n2, _ := h.start(h.peopleSeals())
	if err := n2.Unseal(t.Context(), res.Keys[0], false); err == nil || !strings.Contains(err.Error(), "generation 1, which was replaced") {
		t.Errorf("an old share: %v", err)
	}
	for _, s := range fresh[2:] {
		if err := n2.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.mustRead(n2, "a", "1")
	if _, _, err := n2.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, admin); !fault.Is(err, fault.Invalid) {
		t.Errorf("recovery rekey under Shamir: %v", err)
	}
}

// TestLostAnswerUnderShamir: the server dies between the commit of a barrier rekey and its reply. The old shares still open it, the new
// ones are fetched with the last share and the nonce, and from the first unseal with them the old ones are dead.
func TestLostAnswerUnderShamir(t *testing.T) {
	h := newHouse(t)
	n, stop := h.start(h.peopleSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	old := res.Keys
	give := func(n *Node, shares ...*secret.Bytes) {
		t.Helper()
		for _, s := range shares {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	give(n, old[0], old[1])
	h.write(n, "a", "1")
	st, _, err := n.RekeyStart(t.Context(), recovery.Barrier, recovery.Params{Shares: 3, Threshold: 2}, admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range old[:2] {
		if _, _, err := n.RekeyGive(t.Context(), recovery.Barrier, st.Nonce, s); err != nil {
			t.Fatal(err)
		}
	}
	stop() // the new shares were never seen
	h.wait(12 * time.Hour)
	n, stop = h.start(h.peopleSeals())
	give(n, old[2], old[1])
	if !isActive(n)() {
		t.Fatal("nobody holds the new shares, and the old ones do not unseal")
	}
	h.wait(time.Hour)
	n.wipeAnswers(t.Context())
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, again, err := n.RekeyGive(t.Context(), recovery.Barrier, st.Nonce, old[1])
	if err != nil || len(again.Keys) != 3 {
		t.Fatalf("fetching the new shares: %v", err)
	}
	stop()
	n, stop = h.start(h.peopleSeals())
	give(n, again.Keys[1], again.Keys[2])
	h.mustRead(n, "a", "1")
	stop()
	n, _ = h.start(h.peopleSeals())
	if err := n.Unseal(t.Context(), old[0], false); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("an old share after the new ones were used: %v", err)
	}
}

func (h *house) initAuto(shares, threshold int) (*Node, func(), []*secret.Bytes) {
	h.t.Helper()
	n, stop := h.start(h.autoSeals())
	res, err := n.Init(h.t.Context(), InitRequest{RecoveryShares: shares, RecoveryThreshold: threshold})
	if err != nil {
		h.t.Fatal(err)
	}
	return n, stop, res.RecoveryKeys
}

func (h *house) raw(key string) string {
	h.t.Helper()
	b, err := h.store.Get(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func TestRekeyRecoveryTouchesOnlyShares(t *testing.T) {
	h := newHouse(t)
	n, _, old := h.initAuto(5, 3)
	record, keyring := h.raw(keySealed), h.raw(barrier.KeyringPath)
	fresh := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 7, Threshold: 4}, old[1:4])
	if len(fresh) != 7 || h.raw(keySealed) != record || h.raw(barrier.KeyringPath) != keyring {
		t.Fatalf("%d shares; or the rekey touched the sealed root key or the keyring", len(fresh))
	}
	st, _, err := n.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, admin)
	if err != nil || st.Required != 4 {
		t.Fatalf("%+v, %v", st, err)
	}
	if _, _, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[0]); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("an old share: %v", err)
	}
	for i, s := range fresh[:4] {
		if _, _, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err != nil {
			t.Errorf("new share %d: %v", i+1, err)
		}
	}
}

func TestRekeyBarrierUnderAutoSeal(t *testing.T) {
	h := newHouse(t)
	n, stop, shares := h.initAuto(3, 2)
	record, keyring := h.raw(keySealed), h.raw(barrier.KeyringPath)
	if got := h.rekey(n, recovery.Barrier, recovery.Params{Shares: 5, Threshold: 3}, shares[:2]); len(got) != 0 {
		t.Fatalf("%d shares came out", len(got))
	}
	if h.raw(keySealed) == record || h.raw(barrier.KeyringPath) == keyring {
		t.Error("the root key was not replaced")
	}
	if got := h.rekey(n, recovery.Barrier, recovery.Params{}, shares[1:]); len(got) != 0 {
		t.Error("the recovery shares changed with the root key")
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed with the new root key", isActive(n2))
}

func TestRekeyMistakesDiscloseNothing(t *testing.T) {
	h := newHouse(t)
	n, _, shares := h.initAuto(3, 2)
	give := func(nonce string, s *secret.Bytes) error {
		_, _, err := n.RekeyGive(t.Context(), recovery.Recovery, nonce, s)
		return err
	}
	if err := give("x", shares[0]); err == nil || err.Error() != "no recovery rekey in progress" {
		t.Errorf("nothing under way: %v", err)
	}
	st, _, err := n.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, admin); err == nil || err.Error() != "rekey already in progress" {
		t.Errorf("twice: %v", err)
	}
	bad := shares[1].Clone()
	bad.Expose()[3] ^= 4
	if err := give(st.Nonce, shares[0]); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"wrong nonce": give("11111111-1111-1111-1111-111111111111", shares[1]), "no nonce": give("", shares[1]),
		"wrong share": give(st.Nonce, bad), "doubled": give(st.Nonce, shares[0]), "short": give(st.Nonce, secret.Copy([]byte("short"))),
	} {
		if !fault.Is(err, fault.Invalid) || strings.Contains(fmt.Sprint(err), st.Nonce) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now, err := n.RekeyStatus(t.Context(), recovery.Recovery); err != nil || now.Progress != 1 || now.Nonce != st.Nonce {
		t.Errorf("the mistakes left %+v, %v", now, err)
	}
	if err := n.RekeyCancel(t.Context(), recovery.Recovery, "", admin); err != nil {
		t.Fatal(err)
	}
	if now, err := n.RekeyStatus(t.Context(), recovery.Recovery); err != nil || now.Started || now.Required != 2 {
		t.Errorf("after cancelling: %+v, %v", now, err)
	}
}

func TestCeremonySurvivesRestartAndExpires(t *testing.T) {
	h := newHouse(t)
	n, stop, shares := h.initAuto(3, 2)
	st, _, err := n.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, shares[0]); err != nil {
		t.Fatal(err)
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n2))
	if _, res, err := n2.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, shares[2]); err != nil || res == nil || len(res.Keys) != 2 {
		t.Fatalf("the second share after a restart: %v, %v", res, err)
	}
	if _, _, err := n2.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, admin); err != nil {
		t.Fatal(err)
	}
	h.wait(recovery.DefaultExpiry)
	if st, err := n2.RekeyStatus(t.Context(), recovery.Recovery); err != nil || st.Started {
		t.Errorf("a day later: %+v, %v", st, err)
	}
}

// TestLostAnswer: whoever gave the last share and lost the reply gives it again and gets the same shares, until the time is over.
func TestLostAnswer(t *testing.T) {
	h := newHouse(t)
	n, stop, old := h.initAuto(3, 2)
	st, _, err := n.RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, admin)
	if err != nil {
		t.Fatal(err)
	}
	var first *RekeyResult
	for _, s := range old[:2] {
		if _, first, err = n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	_, again, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[1])
	if err != nil || len(again.Keys) != 2 || !again.Keys[0].Equal(first.Keys[0]) || !again.Keys[1].Equal(first.Keys[1]) {
		t.Fatalf("asking again: %v, %v", again, err)
	}
	for name, s := range map[string]*secret.Bytes{"another old share": old[0], "a new share": first.Keys[0], "a share that took no part": old[2]} {
		if _, res, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err == nil || res != nil {
			t.Errorf("%s fetched the answer", name)
		}
	}
	if _, res, err := n.RekeyGive(t.Context(), recovery.Recovery, "other", old[1]); err == nil || res != nil {
		t.Error("another nonce fetched the answer")
	}
	h.wait(11 * time.Minute)
	if _, res, err := n.RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[1]); err == nil || res != nil {
		t.Error("the answer is given after its time")
	}
	n.wipeAnswers(t.Context())
	if _, err := h.store.Get(t.Context(), answerPath(recovery.PurposeRekeyRecovery)); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the answer is still stored: %v", err)
	}
}

func TestSealAwayAndBack(t *testing.T) {
	h := newHouse(t)
	n, stop, shares := h.initAuto(3, 2)
	h.write(n, "a", "1")
	h.wrap.set(seals.Fail(seals.Unreachable, errors.New("cable"), "plug it in"))
	eventually(t, "health tells that the seal is away", func() bool { return !n.Health().WouldUnseal })
	h.mustRead(n, "a", "1")
	h.write(n, "b", "2")
	if err := n.RotateRoot(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "plug it in") {
		t.Errorf("a new root key while the seal is away: %v", err)
	}
	if err := n.Rotate(t.Context()); err != nil {
		t.Errorf("a new barrier key needs no seal: %v", err)
	}
	fresh := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, shares[:2])
	if len(fresh) != 2 {
		t.Error("recovery shares cannot be rekeyed while the seal is away")
	}
	h.wrap.set(nil)
	eventually(t, "health tells that the seal is back", func() bool { return n.Health().WouldUnseal })
	stop()

	h.wrap.set(seals.Fail(seals.Unreachable, errors.New("cable"), "plug it in"))
	n2, _ := h.start(h.autoSeals())
	eventually(t, "a sealed node says why", func() bool {
		st, err := n2.SealStatus(t.Context())
		return err == nil && st.Sealed && st.Initialized && len(st.Warnings) == 1 && strings.Contains(st.Warnings[0], "plug it in")
	})
	if err := n2.Unseal(t.Context(), fresh[0], false); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "plug it in") {
		t.Errorf("recovery shares do not decrypt: %v", err)
	}
	h.wrap.set(nil)
	eventually(t, "unsealed by itself when the seal is back", isActive(n2))
	h.mustRead(n2, "b", "2")
}

// TestOperatorSeal: a node that was sealed by hand stays so until recovery shares come.
func TestOperatorSeal(t *testing.T) {
	h := newHouse(t)
	n, _, shares := h.initAuto(3, 2)
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.poke()
	time.Sleep(20 * time.Millisecond)
	if isActive(n)() {
		t.Fatal("it unsealed itself again")
	}
	if _, err := n.KeyStatus(); !fault.Is(err, fault.Sealed) || err.Error() != "Vault is sealed" {
		t.Errorf("key status while sealed: %v", err)
	}
	for _, s := range shares[1:] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	if !isActive(n)() {
		t.Error("a threshold of recovery shares did not unseal it")
	}
}

// TestForgedCustody: whoever can write to the storage cannot put his own public key in place of the people's.
func TestForgedCustody(t *testing.T) {
	h := newHouse(t)
	n, stop := h.start(h.peopleSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	record, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil {
		t.Fatal(err)
	}
	mine, _ := recovery.UnmarshalCustody(record.People)
	mine.Holders[0].Name = "mallory"
	record.People = mine.Marshal()
	forged, _ := record.Marshal()
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(keySealed, forged)}}); err != nil {
		t.Fatal(err)
	}
	n2, _ := h.start(h.peopleSeals())
	if err := n2.Unseal(t.Context(), res.Keys[0], false); err == nil || isActive(n2)() {
		t.Errorf("unsealed on a forged record: %v", err)
	}
}

func TestRotateWhileWriting(t *testing.T) {
	h := newHouse(t)
	n, _, _ := h.initAuto(1, 1)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				h.write(n, fmt.Sprintf("%d/%d", w, i), "v")
			}
		})
	}
	for range 10 {
		if err := n.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		if err := n.RotateRoot(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for w := range 4 {
		for i := range 50 {
			h.mustRead(n, fmt.Sprintf("%d/%d", w, i), "v")
		}
	}
	if st, err := n.KeyStatus(); err != nil || st.Term != 11 {
		t.Errorf("%+v, %v", st, err)
	}
}
