package sealtest

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

const (
	deadline = 200 * time.Millisecond
	overtime = 100 * time.Millisecond // how long after its deadline a call may return
)

// both runs Encrypt and Decrypt, which must fail with one of the classes.
func both(t *testing.T, what string, f *Fixture, blob *wrapping.BlobInfo, plain []byte, want ...seals.Class) {
	t.Helper()
	if _, err := f.Wrapper.Encrypt(within(t, patience), plain, wrapping.WithAad(aad)); err == nil {
		t.Errorf("Encrypt, %s: worked", what)
	} else {
		checkFailure(t, "Encrypt, "+what, err, plain, want...)
	}
	refuse(t, "Decrypt, "+what, f.Wrapper, blob, aad, plain, want...)
}

// mute asks a peer that does not answer: each call ends by its deadline, and leaves nothing running.
func unresponsive(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	idle := busy()
	restore := f.Unresponsive()
	calls := map[string]func(context.Context) error{
		"Encrypt": func(ctx context.Context) error {
			_, err := f.Wrapper.Encrypt(ctx, plain, wrapping.WithAad(aad))
			return err
		},
		"Decrypt": func(ctx context.Context) error {
			_, err := f.Wrapper.Decrypt(ctx, blob, wrapping.WithAad(aad))
			return err
		},
	}
	for name, call := range calls {
		if punctual(t, name, plain, call) == nil {
			t.Errorf("%s worked although nobody answers", name)
		}
	}
	// These may answer from memory.
	_ = punctual(t, "KeyId", plain, func(ctx context.Context) error { _, err := f.Wrapper.KeyId(ctx); return err })
	if v, ok := f.Wrapper.(seals.Versioned); ok {
		_ = punctual(t, "KeyVersion", plain, func(ctx context.Context) error { _, err := v.KeyVersion(ctx); return err })
	}
	if d, ok := f.Wrapper.(seals.Describer); ok {
		_ = punctual(t, "Describe", plain, func(ctx context.Context) error { _, err := d.Describe(ctx); return err })
	}
	crowd(t, f, blob, plain)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
	settle(t, idle)
}

// waiting is how many calls wait for a mute peer at once.
const waiting = 64

// crowd has many calls wait for a mute peer.
func crowd(t *testing.T, f *Fixture, blob *wrapping.BlobInfo, plain []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var wg sync.WaitGroup
	for range waiting {
		wg.Go(func() {
			if _, err := f.Wrapper.Decrypt(ctx, blob, wrapping.WithAad(aad)); err == nil {
				t.Error("Decrypt among others worked although nobody answers")
			} else {
				checkFailure(t, "Decrypt of a mute peer, among others", err, plain, seals.Unreachable)
			}
		})
	}
	wg.Wait()
}

// pooled are what connections that wait for a next call have running, here and in a peer of this process.
var pooled = []string{
	"net/http.(*persistConn).", "net/http.(*conn).serve", "net/http.(*connReader).backgroundRead", "net/http.(*http2ClientConn).",
}

// busy is how many goroutines do something else than to keep a connection.
func busy() int {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for one := range strings.SplitSeq(string(stacks), "\n\n") {
		if !slices.ContainsFunc(pooled, func(frame string) bool { return strings.Contains(one, frame) }) {
			n++
		}
	}
	return n
}

// settle waits until what the calls had running is gone. A few goroutines may be new; one for each call may not.
func settle(t *testing.T, idle int) {
	t.Helper()
	for until := time.Now().Add(patience / 6); ; time.Sleep(10 * time.Millisecond) {
		n := busy()
		if n < idle+waiting/2 {
			return
		}
		if time.Now().After(until) {
			t.Errorf("%d goroutines ran before the peer fell mute, and %d long after it came back", idle, n)
			return
		}
	}
}

// nothingLeft checks that f, which closes what it opened, leaves no goroutine behind.
func nothingLeft(t *testing.T, f func()) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	f()
	if err := goleak.Find(before); err != nil {
		t.Errorf("after a peer was mute and everything was closed, something still runs: %v", err)
	}
}

// punctual checks that a call ends by its deadline, and gives its error. A busy machine may delay any single call, so the best of
// three counts.
func punctual(t *testing.T, name string, plain []byte, call func(context.Context) error) error {
	t.Helper()
	best := time.Duration(1<<63 - 1)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		start := time.Now()
		err := call(ctx)
		best = min(best, time.Since(start))
		cancel()
		if err != nil {
			checkFailure(t, name+" of a mute peer", err, plain, seals.Unreachable)
		}
		if err == nil || best <= deadline+overtime {
			return err
		}
	}
	t.Errorf("%s returned %v after its start, and its deadline was %v", name, best, deadline)
	return context.DeadlineExceeded
}

func away(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Away()
	both(t, "peer away", f, blob, plain, h.classes("Away", seals.Unreachable)...)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

func throttled(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Throttle()
	both(t, "throttled", f, blob, plain, h.classes("Throttle", seals.Throttled)...)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

// garbled damages answers: no wrong plaintext is returned, and no set keeps a blob that cannot be decrypted.
func garbled(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Garble()
	refuse(t, "damaged answer", f.Wrapper, blob, aad, plain, h.classes("Garble", seals.Corrupt)...)
	if _, people := f.Wrapper.(seals.Quorum); !people {
		root := secret.New(random(seals.RootKeyLen))
		if _, err := setOf(t, "main", f.Wrapper).Wrap(within(t, patience), "c", 1, root, nil, nil); err == nil {
			t.Error("a set kept a blob that was damaged on its way")
		} else {
			checkFailure(t, "wrapping with damaged answers", err, root.Expose(), h.classes("Garble", seals.Corrupt)...)
		}
	}
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

func forbidden(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Deny()
	both(t, "no permission", f, blob, plain, h.classes("Deny", seals.Denied)...)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}
