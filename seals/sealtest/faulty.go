package sealtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
)

// ErrInjected is the cause of every failure that [Faulty] makes by class.
var ErrInjected = errors.New("injected by a test")

// Op is an operation of a wrapper that [Faulty] counts and disturbs.
type Op string

// The operations.
const (
	Encrypt Op = "encrypt"
	Decrypt Op = "decrypt"
	KeyID   Op = "key id"
)

// Fault is one way to misbehave. Its fields combine: first the delay or the hang, then the error, else the inner wrapper's
// answer, then the damage to it.
type Fault struct {
	Times int // how many calls it strikes, then it is gone; 0: all until Clear

	Delay time.Duration // waits so long, or until the context ends
	Hang  bool          // waits until the context ends
	Deaf  bool          // waits for Release and does not look at the context, as a stuck C library

	Class seals.Class // fails with this class ...
	Final bool        // ... for good
	Err   error       // fails with just this error

	CorruptCiphertext bool // Encrypt's blob comes back changed
	CorruptPlaintext  bool // Decrypt's bytes come back changed
}

// Faulty is a wrapper that hands calls to another one, counts them, and misbehaves as told. It is safe for concurrent use.
//
// It has the optional methods of package seals except those of [seals.Quorum]: a wrapper that has them is taken for
// people. What the inner wrapper lacks answers as a provider without it would be treated.
type Faulty struct {
	inner wrapping.Wrapper

	mu      sync.Mutex
	faults  map[Op][]*Fault
	calls   map[Op]int
	release chan struct{}
}

var (
	_ wrapping.Wrapper = (*Faulty)(nil)
	_ seals.Versioned  = (*Faulty)(nil)
	_ seals.Stamper    = (*Faulty)(nil)
	_ seals.Binder     = (*Faulty)(nil)
	_ seals.Closer     = (*Faulty)(nil)
)

// NewFaulty wraps w; it behaves until [Faulty.Inject].
func NewFaulty(w wrapping.Wrapper) *Faulty {
	return &Faulty{inner: w, faults: map[Op][]*Fault{}, calls: map[Op]int{}, release: make(chan struct{})}
}

// Inject makes calls of op misbehave, after the faults that op has already are spent.
func (f *Faulty) Inject(op Op, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[op] = append(f.faults[op], &fault)
}

// Break injects the fault into every operation.
func (f *Faulty) Break(fault Fault) {
	for _, op := range []Op{Encrypt, Decrypt, KeyID} {
		f.Inject(op, fault)
	}
}

// Clear removes all faults, and lets deaf calls go.
func (f *Faulty) Clear() {
	f.mu.Lock()
	clear(f.faults)
	f.mu.Unlock()
	f.Release()
}

// Release lets the calls go that a Deaf fault holds now.
func (f *Faulty) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.release)
	f.release = make(chan struct{})
}

// Calls is how often op was called, whether it worked or not.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Unwrap is the inner wrapper.
func (f *Faulty) Unwrap() wrapping.Wrapper { return f.inner }

// next counts a call and takes the fault that strikes it.
func (f *Faulty) next(op Op) (Fault, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	queue := f.faults[op]
	if len(queue) == 0 {
		return Fault{}, f.release
	}
	fault := *queue[0]
	if queue[0].Times > 0 {
		if queue[0].Times--; queue[0].Times == 0 {
			f.faults[op] = queue[1:]
		}
	}
	return fault, f.release
}

// strike waits and fails as the next fault says.
func (f *Faulty) strike(ctx context.Context, op Op) (Fault, error) {
	fault, release := f.next(op)
	if fault.Deaf {
		<-release
	}
	if err := fault.wait(ctx); err != nil {
		return fault, seals.Fail(seals.Unreachable, err, "remove the fault that a test injected")
	}
	switch {
	case fault.Err != nil:
		return fault, fault.Err
	case fault.Class != "":
		failure := seals.Fail(fault.Class, ErrInjected, "remove the fault that a test injected")
		failure.Final = fault.Final
		return fault, failure
	}
	return fault, nil
}

func (fault *Fault) wait(ctx context.Context) error {
	if fault.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if fault.Delay == 0 {
		return nil
	}
	timer := time.NewTimer(fault.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Encrypt is the inner wrapper's, disturbed.
func (f *Faulty) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	fault, err := f.strike(ctx, Encrypt)
	if err != nil {
		return nil, err
	}
	blob, err := f.inner.Encrypt(ctx, plain, options...)
	if err != nil || !fault.CorruptCiphertext || len(blob.Ciphertext) == 0 {
		return blob, err
	}
	blob = proto.Clone(blob).(*wrapping.BlobInfo)
	blob.Ciphertext[len(blob.Ciphertext)/2] ^= 0x10
	return blob, nil
}

// Decrypt is the inner wrapper's, disturbed.
func (f *Faulty) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	fault, err := f.strike(ctx, Decrypt)
	if err != nil {
		return nil, err
	}
	plain, err := f.inner.Decrypt(ctx, blob, options...)
	if err != nil || !fault.CorruptPlaintext || len(plain) == 0 {
		return plain, err
	}
	plain = bytes.Clone(plain)
	plain[len(plain)/2] ^= 0x10
	return plain, nil
}

// KeyId is the inner wrapper's, disturbed.
func (f *Faulty) KeyId(ctx context.Context) (string, error) {
	if _, err := f.strike(ctx, KeyID); err != nil {
		return "", err
	}
	return f.inner.KeyId(ctx)
}

// Type is the inner wrapper's.
func (f *Faulty) Type(ctx context.Context) (wrapping.WrapperType, error) { return f.inner.Type(ctx) }

// SetConfig is the inner wrapper's.
func (f *Faulty) SetConfig(ctx context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return f.inner.SetConfig(ctx, options...)
}

// KeyVersion is the inner wrapper's version, or its key's id where it has none; it is disturbed as KeyId.
func (f *Faulty) KeyVersion(ctx context.Context) (string, error) {
	v, ok := f.inner.(seals.Versioned)
	if !ok {
		return f.KeyId(ctx)
	}
	if _, err := f.strike(ctx, KeyID); err != nil {
		return "", err
	}
	return v.KeyVersion(ctx)
}

// VersionOf is the inner wrapper's answer, "" where it has none.
func (f *Faulty) VersionOf(blob *wrapping.BlobInfo) string {
	if v, ok := f.inner.(seals.Stamper); ok {
		return v.VersionOf(blob)
	}
	return ""
}

// BindsAAD is the inner wrapper's answer, true where it has none.
func (f *Faulty) BindsAAD() bool {
	if b, ok := f.inner.(seals.Binder); ok {
		return b.BindsAAD()
	}
	return true
}

// Close lets deaf calls go and closes the inner wrapper where it can be closed.
func (f *Faulty) Close() error {
	f.Clear()
	if c, ok := f.inner.(seals.Closer); ok {
		return c.Close()
	}
	return nil
}
