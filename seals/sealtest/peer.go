package sealtest

import (
	"context"
	"errors"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

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

func mute(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	before := goleak.IgnoreCurrent()
	restore := f.Mute()
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
		punctual(t, name, plain, call)
	}
	restore()
	decrypt(t, f.Wrapper, blob, plain)
	if err := goleak.Find(before); err != nil {
		t.Errorf("a call that ran out of time left something running: %v", err)
	}
}

// punctual checks that a call ends by its deadline. A busy machine may delay any single call, so the best of three counts.
func punctual(t *testing.T, name string, plain []byte, call func(context.Context) error) {
	t.Helper()
	best := time.Duration(1<<63 - 1)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		start := time.Now()
		err := call(ctx)
		best = min(best, time.Since(start))
		cancel()
		if err == nil {
			t.Fatalf("%s worked although nobody answers", name)
		}
		checkFailure(t, name+" of a mute peer", err, plain, seals.Unreachable)
		if best <= deadline+overtime {
			return
		}
	}
	t.Errorf("%s returned %v after its start, and its deadline was %v", name, best, deadline)
}

func away(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Away()
	both(t, "peer away", f, blob, plain, seals.Unreachable, seals.KeyGone)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

func throttled(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Throttle()
	both(t, "throttled", f, blob, plain, seals.Throttled)
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

func garbled(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	restore := f.Garble()
	if got, err := f.Wrapper.Decrypt(within(t, patience), blob, wrapping.WithAad(aad)); err == nil {
		t.Errorf("a damaged answer was taken for a plaintext of %d bytes", len(got))
	} else {
		checkFailure(t, "damaged answer", err, plain, seals.Corrupt, seals.Unreachable)
	}
	restore()
	decrypt(t, f.Wrapper, blob, plain)
}

func disabled(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Disable()
	both(t, "key disabled", f, blob, plain, seals.KeyDisabled)
	if f.Enable != nil {
		f.Enable()
		decrypt(t, f.Wrapper, blob, plain)
	}
}

func scheduled(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Schedule()
	both(t, "key scheduled for destruction", f, blob, plain, seals.PendingDeletion)
}

func destroyed(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Destroy()
	both(t, "key destroyed", f, blob, plain, seals.KeyGone)
}

func rotated(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	old := encrypt(t, f.Wrapper, plain)
	before := versionOf(t, f.Wrapper)
	f.Rotate()
	decrypt(t, f.Wrapper, old, plain)
	fresh := encrypt(t, f.Wrapper, plain)
	decrypt(t, f.Wrapper, fresh, plain)
	if after := versionOf(t, f.Wrapper); after == before {
		t.Errorf("the key was rotated, and its version is still %q", after)
	}
}

// versionOf is the key's version where the provider tells it, else the key's id.
func versionOf(t *testing.T, w wrapping.Wrapper) string {
	t.Helper()
	v, ok := w.(seals.Versioned)
	if !ok {
		return keyIDOf(t, w)
	}
	version, err := v.KeyVersion(within(t, patience))
	if err != nil || version == "" {
		t.Fatalf("KeyVersion is %q, %v", version, err)
	}
	return version
}

func expired(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Expire()
	_, err := f.Wrapper.Decrypt(within(t, patience), blob, wrapping.WithAad(aad))
	if err == nil {
		t.Fatal("Decrypt worked with credentials that have expired")
	}
	checkFailure(t, "credentials expired", err, plain, seals.Denied)
	if f.Renew == nil {
		return
	}
	f.Renew()
	var failure *seals.Failure
	if errors.As(err, &failure) && failure.Final {
		return // it told that only a new configuration helps
	}
	decrypt(t, f.Wrapper, blob, plain)
}
