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
	overtime = 100 * time.Millisecond // tolerance after the deadline
)

// both checks that Encrypt and Decrypt fail with one of the classes.
func both(t *testing.T, what string, f *Fixture, blob *wrapping.BlobInfo, plain []byte, want ...seals.Class) {
	t.Helper()
	if _, err := f.Wrapper.Encrypt(within(t, patience), plain, wrapping.WithAad(aad)); err == nil {
		t.Errorf("Encrypt, %s: succeeded", what)
	} else {
		checkFailure(t, "Encrypt, "+what, err, plain, want...)
	}
	refuse(t, "Decrypt, "+what, f.Wrapper, blob, aad, plain, want...)
}

// unresponsive checks that each call to a peer that does not answer ends by its deadline, and
// leaves nothing running.
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
			t.Errorf("%s succeeded without an answer of the peer", name)
		}
	}
	// These may answer from memory.
	_ = punctual(t, "KeyId", plain, func(ctx context.Context) error { _, err := f.Wrapper.KeyId(ctx); return err })
	if v, ok := f.Wrapper.(seals.Versioned); ok {
		_ = punctual(
			t,
			"KeyVersion",
			plain,
			func(ctx context.Context) error { _, err := v.KeyVersion(ctx); return err },
		)
	}
	if d, ok := f.Wrapper.(seals.Describer); ok {
		_ = punctual(t, "Describe", plain, func(ctx context.Context) error { _, err := d.Describe(ctx); return err })
	}
	checkConcurrent(t, f, blob, plain)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
	settle(t, idle)
}

// waiting is the number of concurrent calls to an unresponsive peer.
const waiting = 64

// checkConcurrent checks concurrent calls to an unresponsive peer.
func checkConcurrent(t *testing.T, f *Fixture, blob *wrapping.BlobInfo, plain []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var wg sync.WaitGroup
	for range waiting {
		wg.Go(func() {
			if _, err := f.Wrapper.Decrypt(ctx, blob, wrapping.WithAad(aad)); err == nil {
				t.Error("a concurrent Decrypt succeeded without an answer of the peer")
			} else {
				checkFailure(t, "concurrent Decrypt, unresponsive peer", err, plain, seals.Unreachable)
			}
		})
	}
	wg.Wait()
}

// pooled are the functions of goroutines that serve idle connections, here and in a peer of this
// process.
var pooled = []string{
	"net/http.(*persistConn).", "net/http.(*http2ClientConn).",
	"net/http.(*conn).serve", "net/http.(*connReader).backgroundRead",
}

// busy counts the goroutines that do not serve an idle connection.
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

// settle waits until the goroutines of the calls have ended. A few may be new, but not one for each
// call.
func settle(t *testing.T, idle int) {
	t.Helper()
	for until := time.Now().Add(patience / 6); ; time.Sleep(10 * time.Millisecond) {
		n := busy()
		if n < idle+waiting/2 {
			return
		}
		if time.Now().After(until) {
			t.Errorf("%d goroutines ran before the peer stopped answering, and %d after it answered again", idle, n)
			return
		}
	}
}

// nothingLeft checks that f leaks no goroutine.
func nothingLeft(t *testing.T, f func()) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	f()
	if err := goleak.Find(before); err != nil {
		t.Errorf("goroutines leaked after calls to an unresponsive peer: %v", err)
	}
}

// punctual checks that a call ends by its deadline, and returns its error. The best of three
// attempts counts, because a busy machine may delay a single call.
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
			checkFailure(t, name+", unresponsive peer", err, plain, seals.Unreachable)
		}
		if err == nil || best <= deadline+overtime {
			return err
		}
	}
	t.Errorf("%s returned %v after its start, and its deadline was %v", name, best, deadline)
	return context.DeadlineExceeded
}

func checkUnavailable(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Away()
	both(t, "peer unavailable", f, blob, plain, h.classes("Away", seals.Unreachable)...)
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

// garbled checks that a damaged answer neither becomes a plaintext nor a part of a record.
func garbled(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Garble()
	refuse(t, "damaged answer", f.Wrapper, blob, aad, plain, h.classes("Garble", seals.Corrupt)...)
	if _, isQuorum := f.Wrapper.(seals.Quorum); !isQuorum {
		root := secret.New(random(seals.RootKeyLen))
		if _, err := setOf(t, "main", f.Wrapper).Wrap(within(t, patience), "c", 1, root, nil, nil); err == nil {
			t.Error("Wrap returned a record with a damaged blob")
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
