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

// Op is an operation of a wrapper that [Faulty] counts and makes fail.
type Op string

// The operations.
const (
	Encrypt Op = "encrypt"
	Decrypt Op = "decrypt"
	KeyID   Op = "key id"
)

// Fault is one way to fail. Its fields combine: first the delay or hang, then the error; without an
// error the inner wrapper's answer, then the damage to it.
type Fault struct {
	Times int // how many calls fail; 0: all until Clear

	Delay time.Duration // waits, at most until the context ends
	Hang  bool          // waits until the context ends
	Deaf  bool          // waits for Release and ignores the context, as a hung C library does

	Class seals.Class // fails with a Failure of this class
	Final bool        // sets Final in that Failure
	Err   error       // fails with exactly this error

	CorruptCiphertext bool // changes the blob that Encrypt returns
	CorruptPlaintext  bool // changes the bytes that Decrypt returns
}

// Faulty passes calls to another wrapper, counts them, and fails on demand. It is safe for
// concurrent use.
//
// It implements [seals.Versioned], [seals.Stamper] and [seals.Closer], with defaults where the
// inner wrapper does not. It is never a [seals.Quorum].
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

	_ seals.Closer = (*Faulty)(nil)
)

// NewFaulty wraps w. It fails no call until [Faulty.Inject].
func NewFaulty(w wrapping.Wrapper) *Faulty {
	return &Faulty{inner: w, faults: map[Op][]*Fault{}, calls: map[Op]int{}, release: make(chan struct{})}
}

// Inject adds a fault to op. It takes effect when the faults injected before are used up.
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

// Clear removes all faults and releases Deaf calls.
func (f *Faulty) Clear() {
	f.mu.Lock()
	clear(f.faults)
	f.mu.Unlock()
	f.Release()
}

// Release ends the wait of the calls that a Deaf fault holds now.
func (f *Faulty) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.release)
	f.release = make(chan struct{})
}

// Calls returns how often op was called, including failed calls.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Unwrap returns the inner wrapper.
func (f *Faulty) Unwrap() wrapping.Wrapper { return f.inner }

// next counts a call and takes its fault.
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

// strike applies the next fault: it waits and fails.
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

// Encrypt calls the inner wrapper, with faults.
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

// Decrypt calls the inner wrapper, with faults.
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

// KeyId calls the inner wrapper, with faults.
func (f *Faulty) KeyId(ctx context.Context) (string, error) {
	if _, err := f.strike(ctx, KeyID); err != nil {
		return "", err
	}
	return f.inner.KeyId(ctx)
}

// Type calls the inner wrapper.
func (f *Faulty) Type(ctx context.Context) (wrapping.WrapperType, error) { return f.inner.Type(ctx) }

// SetConfig calls the inner wrapper.
func (f *Faulty) SetConfig(ctx context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return f.inner.SetConfig(ctx, options...)
}

// KeyVersion calls the inner wrapper, with the faults of KeyID. It returns the key's id where the
// inner wrapper has no versions.
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

// VersionOf calls the inner wrapper. It returns "" where that has no such method.
func (f *Faulty) VersionOf(blob *wrapping.BlobInfo) string {
	if v, ok := f.inner.(seals.Stamper); ok {
		return v.VersionOf(blob)
	}
	return ""
}

// Close clears all faults and closes the inner wrapper where it can be closed.
func (f *Faulty) Close() error {
	f.Clear()
	if c, ok := f.inner.(seals.Closer); ok {
		return c.Close()
	}
	return nil
}
