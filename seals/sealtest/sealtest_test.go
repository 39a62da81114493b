package sealtest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
	"github.com/sealgate/sealgate/seals/static"
)

const (
	keyA = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	keyB = "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
)

func newStatic(t *testing.T, key, id string) wrapping.Wrapper {
	t.Helper()
	w, err := static.New(
		seals.Config{Name: "s", Type: "static", Params: map[string]string{"current_key": key, "current_key_id": id}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fixture returns a correct provider with every hook; Faulty acts as the peer.
func fixture(t *testing.T) *sealtest.Fixture {
	f := sealtest.NewFaulty(newStatic(t, keyA, "a"))
	during := func(fault sealtest.Fault) func() func() {
		return func() func() { f.Break(fault); return f.Clear }
	}
	always := func(fault sealtest.Fault) func() { return func() { f.Break(fault) } }
	return &sealtest.Fixture{
		Wrapper:      f,
		Other:        newStatic(t, keyB, "b"),
		Again:        func() wrapping.Wrapper { return newStatic(t, keyA, "a") },
		Unresponsive: during(sealtest.Fault{Hang: true}),
		Away:         during(sealtest.Fault{Class: seals.Unreachable}),
		Throttle:     during(sealtest.Fault{Class: seals.Throttled}),
		Garble:       during(sealtest.Fault{Class: seals.Corrupt}),
		Disable:      always(sealtest.Fault{Class: seals.KeyDisabled}),
		Enable:       f.Clear,
		Schedule:     always(sealtest.Fault{Class: seals.PendingDeletion}), Unschedule: f.Clear,
		Deny:    during(sealtest.Fault{Class: seals.Denied}),
		Calls:   func() int { return f.Calls(sealtest.Encrypt) + f.Calls(sealtest.Decrypt) },
		Destroy: always(sealtest.Fault{Class: seals.KeyGone}),
		Expire:  always(sealtest.Fault{Class: seals.Denied}),
		Renew:   f.Clear,
		Rotate: func() {
			_, err := f.SetConfig(t.Context(), wrapping.WithConfigMap(map[string]string{
				"current_key": keyB, "current_key_id": "a2", "previous_key": keyA, "previous_key_id": "a"}))
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestSuiteAcceptsCorrectProvider(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: fixture, Goroutines: 8})
}

type (
	wrapper  = wrapping.Wrapper
	blobInfo = wrapping.BlobInfo
	option   = wrapping.Option
)

// flawed changes one answer of a correct provider.
type flawed struct {
	wrapping.Wrapper
	encrypt func(context.Context, wrapping.Wrapper, []byte, ...wrapping.Option) (*wrapping.BlobInfo, error)
	decrypt func(context.Context, wrapping.Wrapper, *wrapping.BlobInfo, ...wrapping.Option) ([]byte, error)
}

func (f *flawed) Encrypt(ctx context.Context, p []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	if f.encrypt == nil {
		return f.Wrapper.Encrypt(ctx, p, o...)
	}
	return f.encrypt(ctx, f.Wrapper, p, o...)
}

func (f *flawed) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	if f.decrypt == nil {
		return f.Wrapper.Decrypt(ctx, b, o...)
	}
	return f.decrypt(ctx, f.Wrapper, b, o...)
}

var last []byte // the last plaintext of the provider that leaks

// flaws are providers that the suite must refuse, each with the expected message.
var flaws = map[string]struct {
	provider flawed
	want     string
}{
	"ignores additional data": {flawed{
		encrypt: func(ctx context.Context, w wrapper, p []byte, _ ...option) (*blobInfo, error) {
			return w.Encrypt(ctx, p)
		},
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, _ ...option) ([]byte, error) {
			return w.Decrypt(ctx, b)
		},
	}, "other additional data: decrypted"},
	"does not classify": {flawed{
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			p, err := w.Decrypt(ctx, b, o...)
			if err != nil {
				return nil, errors.New("bad")
			}
			return p, nil
		},
	}, "not classified: bad"},
	"classifies wrongly": {flawed{
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			p, err := w.Decrypt(ctx, b, o...)
			if err != nil {
				return nil, seals.Fail(seals.Denied, err, "ask")
			}
			return p, nil
		},
	}, `class "denied", want ["corrupt"]`},
	"ignores the context": {flawed{
		decrypt: func(_ context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			return w.Decrypt(context.Background(), b, o...)
		},
	}, "Decrypt succeeded with a cancelled context"},
	"leaks": {flawed{
		encrypt: func(ctx context.Context, w wrapper, p []byte, o ...option) (*blobInfo, error) {
			last = bytes.Clone(p)
			return w.Encrypt(ctx, p, o...)
		},
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			p, err := w.Decrypt(ctx, b, o...)
			if err != nil {
				return nil, seals.Fail(seals.ClassOf(err), errors.New(string(last)), "ask")
			}
			return p, nil
		},
	}, "the error shows the plaintext"},
	"returns bytes with an error": {flawed{
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			p, err := w.Decrypt(ctx, b, o...)
			if err != nil {
				return []byte("half"), err
			}
			return p, nil
		},
	}, "an error together with 4 bytes"},
	"does not encrypt": {flawed{
		encrypt: func(_ context.Context, _ wrapper, p []byte, _ ...option) (*blobInfo, error) {
			return &wrapping.BlobInfo{Ciphertext: p}, nil
		},
	}, "or the plaintext itself"},
	noReasons: {flawed{}, "hook Throttle is nil, and Without has no reason for it"},
	leaves: {flawed{
		decrypt: func(ctx context.Context, w wrapper, b *blobInfo, o ...option) ([]byte, error) {
			if _, ok := ctx.Deadline(); ok {
				go func() { select {} }()
			}
			return w.Decrypt(ctx, b, o...)
		},
	}, "goroutines leaked"},
}

const noReasons, leaves = "gives no reasons", "leaves goroutines"

// TestSuiteRefuses runs this test binary for each flaw, because a test cannot catch its own
// failure.
func TestSuiteRefuses(t *testing.T) {
	const variable = "SEALTEST_FLAW"
	if name := os.Getenv(variable); name != "" {
		h := sealtest.Harness{Goroutines: 1, New: func(t *testing.T) *sealtest.Fixture {
			peer := sealtest.NewFaulty(newStatic(t, keyA, "a"))
			w := flaws[name].provider
			w.Wrapper = peer
			f := &sealtest.Fixture{Wrapper: &w}
			if name == leaves {
				f.Unresponsive = func() func() { peer.Break(sealtest.Fault{Hang: true}); return peer.Clear }
			}
			return f
		}, Without: sealtest.Unless("this provider is meant to fail")}
		switch name {
		case noReasons:
			h.Without = nil
		case leaves:
			delete(h.Without, "Unresponsive")
		}
		sealtest.Run(t, h)
		return
	}
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuiteRefuses$")
			cmd.Env = append(os.Environ(), variable+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), flaw.want) {
				t.Errorf("the suite accepted the flaw, or did not report %q: %v\n%s", flaw.want, err, out)
			}
		})
	}
}

func TestFaultyCountsAndLimitsFailures(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := sealtest.NewFaulty(newStatic(t, keyA, "a"))
	own := errors.New("own")
	f.Inject(sealtest.Encrypt, sealtest.Fault{Class: seals.Throttled, Times: 2})
	f.Inject(sealtest.Encrypt, sealtest.Fault{Err: own, Times: 1})
	for i, want := range []error{sealtest.ErrInjected, sealtest.ErrInjected, own, nil} {
		if _, err := f.Encrypt(ctx, []byte("p")); !errors.Is(err, want) {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	if f.Calls(sealtest.Encrypt) != 4 || f.Calls(sealtest.Decrypt) != 0 {
		t.Errorf("%d encryptions and %d decryptions counted", f.Calls(sealtest.Encrypt), f.Calls(sealtest.Decrypt))
	}
	f.Inject(sealtest.KeyID, sealtest.Fault{Class: seals.Denied, Final: true})
	var failure *seals.Failure
	if _, err := f.KeyId(ctx); !errors.As(err, &failure) || failure.Class != seals.Denied || !failure.Final {
		t.Errorf("KeyId: %v", err)
	}
	if _, err := f.KeyVersion(ctx); seals.ClassOf(err) != seals.Denied {
		t.Errorf("KeyVersion: %v", err)
	}
	f.Clear()
	if id, err := f.KeyId(ctx); err != nil || id != "a" {
		t.Errorf("KeyId after Clear: %q, %v", id, err)
	}
}

func TestFaultyWaits(t *testing.T) {
	t.Parallel()
	f := sealtest.NewFaulty(newStatic(t, keyA, "a"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	f.Inject(sealtest.Encrypt, sealtest.Fault{Hang: true, Times: 1})
	f.Inject(sealtest.Encrypt, sealtest.Fault{Delay: time.Hour, Times: 1})
	f.Inject(sealtest.Encrypt, sealtest.Fault{Delay: time.Millisecond, Times: 1})
	for range 2 {
		if _, err := f.Encrypt(ctx, []byte("p")); !errors.Is(err, context.DeadlineExceeded) ||
			seals.ClassOf(err) != seals.Unreachable {
			t.Errorf("after the deadline: %v", err)
		}
	}
	if _, err := f.Encrypt(t.Context(), []byte("p")); err != nil {
		t.Errorf("after a short delay: %v", err)
	}
}

func TestFaultyDeafCallEndsByRelease(t *testing.T) {
	t.Parallel()
	f := sealtest.NewFaulty(newStatic(t, keyA, "a"))
	f.Inject(sealtest.Decrypt, sealtest.Fault{Deaf: true, Times: 1})
	blob, err := f.Encrypt(t.Context(), []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error)
	go func() {
		_, err := f.Decrypt(ctx, blob)
		done <- err
	}()
	for f.Calls(sealtest.Decrypt) == 0 {
		select {
		case err := <-done:
			t.Fatalf("a deaf call ended with its context: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	f.Release()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("after Release: %v", err)
	}
}

func TestFaultyDamages(t *testing.T) {
	t.Parallel()
	ctx, plain := t.Context(), []byte("plain text")
	f := sealtest.NewFaulty(newStatic(t, keyA, "a"))
	f.Inject(sealtest.Encrypt, sealtest.Fault{CorruptCiphertext: true, Times: 1})
	f.Inject(sealtest.Decrypt, sealtest.Fault{Times: 1})
	f.Inject(sealtest.Decrypt, sealtest.Fault{CorruptPlaintext: true, Times: 1})
	blob, err := f.Encrypt(ctx, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Decrypt(ctx, blob); seals.ClassOf(err) != seals.Corrupt {
		t.Errorf("a damaged blob: %v", err)
	}
	if blob, err = f.Encrypt(ctx, plain); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Decrypt(ctx, blob); err != nil || bytes.Equal(got, plain) || len(got) != len(plain) {
		t.Errorf("a damaged answer: %q, %v", got, err)
	}
	if got, err := f.Decrypt(ctx, blob); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("the next one: %q, %v", got, err)
	}
	if f.Unwrap() == nil || f.Close() != nil {
		t.Error("Unwrap or Close of a wrapper without these methods")
	}
}
