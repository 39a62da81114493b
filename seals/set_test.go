package seals

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
)

// memoryWrapper keeps plaintexts in a map and fails on demand.
type memoryWrapper struct {
	mu           sync.Mutex
	stored       map[string][]byte // ciphertext + AAD -> plaintext
	fail         error
	unresponsive bool
	spoil        bool
	plains       [][]byte
}

func (b *memoryWrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return "memoryWrapper", nil
}
func (b *memoryWrapper) KeyId(context.Context) (string, error) { return "key", nil }
func (b *memoryWrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return &wrapping.WrapperConfig{}, nil
}

func (b *memoryWrapper) Encrypt(ctx context.Context, plain []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	if err := b.answer(ctx); err != nil {
		return nil, err
	}
	opts, err := wrapping.GetOpts(o...)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stored == nil {
		b.stored = map[string][]byte{}
	}
	ct := []byte{byte(len(b.stored))}
	b.stored[string(ct)+string(opts.WithAad)] = bytes.Clone(plain)
	b.plains = append(b.plains, bytes.Clone(plain))
	return &wrapping.BlobInfo{Ciphertext: ct, KeyInfo: &wrapping.KeyInfo{KeyId: "key"}}, nil
}

func (b *memoryWrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	if err := b.answer(ctx); err != nil {
		return nil, err
	}
	opts, err := wrapping.GetOpts(o...)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	plain, ok := b.stored[string(blob.Ciphertext)+string(opts.WithAad)]
	if !ok {
		return nil, Fail(Corrupt, errors.New("no such blob"), "use the wrapper that made it")
	}
	plain = bytes.Clone(plain)
	if b.spoil {
		plain[0] ^= 1
	}
	return plain, nil
}

func (b *memoryWrapper) answer(ctx context.Context) error {
	b.mu.Lock()
	fail, unresponsive := b.fail, b.unresponsive
	b.mu.Unlock()
	if unresponsive {
		<-make(chan struct{}) // ignores its context, as a C library does
	}
	return fail
}

func (b *memoryWrapper) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func newTestSet(t *testing.T, threshold int, names ...string) (*Set, []*memoryWrapper) {
	t.Helper()
	var members []Seal
	var wrappers []*memoryWrapper
	for _, n := range names {
		b := &memoryWrapper{}
		wrappers = append(wrappers, b)
		members = append(members, Seal{Name: n, Type: "memoryWrapper", Wrapper: b})
	}
	s, err := NewSet(members, Options{Threshold: threshold})
	if err != nil {
		t.Fatal(err)
	}
	return s, wrappers
}

func newRoot(t *testing.T) *secret.Bytes {
	t.Helper()
	root, err := secret.Random(nil, RootKeyLen)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestAnySealUnseals(t *testing.T) {
	s, wrappers := newTestSet(t, 1, "a", "b", "c")
	root := newRoot(t)
	r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	unavailable := Fail(Unreachable, errors.New("cable"), "plug it in")
	wrappers[0].set(func() { wrappers[0].fail = unavailable })
	wrappers[2].set(func() { wrappers[2].fail = unavailable })
	got, err := s.Unwrap(t.Context(), r, nil)
	if err != nil || !got.Equal(root) {
		t.Fatalf("with one of three seals available: %v", err)
	}
	wrappers[1].set(func() { wrappers[1].fail = unavailable })
	if _, err = s.Unwrap(t.Context(), r, nil); ClassOf(err) != Unreachable ||
		!strings.Contains(err.Error(), "plug it in") {
		t.Fatalf("with no seal available: %v; want class unreachable and the remedy", err)
	}
	if s.WouldUnseal() {
		t.Error("WouldUnseal is true with no seal available")
	}
}

func TestThresholdOfSeals(t *testing.T) {
	s, wrappers := newTestSet(t, 2, "a", "b", "c")
	root := newRoot(t)
	r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range wrappers {
		if bytes.Contains(b.plains[0], root.Expose()) {
			t.Errorf("seal %d holds the whole root key", i)
		}
	}
	for i, b := range wrappers {
		b.set(func() { b.fail = errors.New("unavailable") })
		got, err := s.Unwrap(t.Context(), r, nil)
		if err != nil || !got.Equal(root) {
			t.Errorf("without seal %d: %v", i, err)
		}
		other := wrappers[(i+1)%3]
		other.set(func() { other.fail = errors.New("unavailable") })
		if _, err := s.Unwrap(t.Context(), r, nil); err == nil {
			t.Errorf("one seal alone unsealed")
		}
		b.set(func() { b.fail = nil })
		other.set(func() { other.fail = nil })
	}
}

func TestBlobIsBound(t *testing.T) {
	s, _ := newTestSet(t, 1, "a")
	r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Record){
		"another cluster":    func(r *Record) { r.Cluster = "other" },
		"another generation": func(r *Record) { r.Generation = 2 },
	} {
		moved := *r
		change(&moved)
		if _, err := s.Unwrap(t.Context(), &moved, nil); ClassOf(err) != Corrupt {
			t.Errorf("%s: %v, want class corrupt", name, err)
		}
	}
	other, wrappers := newTestSet(t, 1, "b")
	wrappers[0].stored = s.seals[0].Wrapper.(*memoryWrapper).stored
	renamed := *r
	renamed.Parts = []Part{r.Parts[0]}
	renamed.Parts[0].Name = "b"
	if _, err := other.Unwrap(t.Context(), &renamed, nil); ClassOf(err) != Corrupt {
		t.Errorf("under another seal's name: %v, want class corrupt", err)
	}
}

func TestWrapProvesEverySeal(t *testing.T) {
	s, wrappers := newTestSet(t, 1, "good", "wrong")
	wrappers[1].spoil = true
	if _, err := s.Wrap(t.Context(), "c", 1, newRoot(t), nil, nil); ClassOf(err) != Corrupt ||
		!strings.Contains(err.Error(), `"wrong"`) {
		t.Errorf("a seal that returns another plaintext: %v", err)
	}
}

func TestProbeDecryptsTheStoredPart(t *testing.T) {
	s, wrappers := newTestSet(t, 1, "a")
	r, err := s.Wrap(t.Context(), "c", 1, newRoot(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.WouldUnseal() {
		t.Error("WouldUnseal is true before the first probe")
	}
	if st := s.Probe(t.Context(), r)[0]; !st.WouldUnseal || st.LastProof == nil || st.Class != "" {
		t.Errorf("after a successful probe: %+v", st)
	}
	proof := *s.Status()[0].LastProof
	for _, c := range []Class{
		Unreachable, Throttled, Denied, KeyDisabled, PendingDeletion, KeyGone, Corrupt, WrongKey, Misconfigured,
	} {
		wrappers[0].set(func() { wrappers[0].fail = Fail(c, errors.New("cause"), "remedy") })
		if st := s.Probe(t.Context(), r)[0]; st.WouldUnseal || st.Class != c || st.Remedy != "remedy" ||
			!st.LastProof.Equal(proof) {
			t.Errorf("%s: %+v", c, st)
		}
	}
	wrappers[0].set(func() { wrappers[0].fail, wrappers[0].spoil = nil, true })
	if st := s.Probe(t.Context(), r)[0]; st.Class != Corrupt {
		t.Errorf("a plaintext other than the wrapped one: %+v", st)
	}
}

// TestUnresponsiveSeal: a seal that ignores its context costs the caller its deadline, and the
// program a bounded number of goroutines.
func TestUnresponsiveSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newSemaphores(1)[0]
		dropped := make(chan int, maxCalls)
		call := func(context.Context) (int, error) { <-release; return 1, nil }
		for range maxCalls + 3 {
			start := time.Now()
			_, err := abandonable(t.Context(), g, time.Second, call, func(v int) { dropped <- v })
			if ClassOf(err) != Unreachable || time.Since(start) != time.Second {
				t.Fatalf("after %s: %v", time.Since(start), err)
			}
		}
		close(release)
		synctest.Wait()
		if len(dropped) != maxCalls {
			t.Errorf("%d late results were dropped, want %d", len(dropped), maxCalls)
		}
		if v, err := abandonable(t.Context(), g, time.Second, call, nil); v != 1 || err != nil {
			t.Errorf("after the seal answers again: %d, %v", v, err)
		}
	})
}

func TestNewSetRefuses(t *testing.T) {
	w := &memoryWrapper{}
	for name, c := range map[string]struct {
		members   []Seal
		threshold int
	}{
		"no seal":                    {nil, 1},
		"threshold above the number": {[]Seal{{Name: "a", Wrapper: w}}, 2},
		"two seals of one name":      {[]Seal{{Name: "a", Wrapper: w}, {Name: "a", Wrapper: w}}, 1},
		"no name":                    {[]Seal{{Wrapper: w}}, 1},
		"no provider":                {[]Seal{{Name: "a"}}, 1},
		"negative threshold":         {[]Seal{{Name: "a", Wrapper: w}}, -1},
	} {
		if _, err := NewSet(c.members, Options{Threshold: c.threshold}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
