// Package foreign makes a seal of a go-kms-wrapping wrapper that somebody else wrote.
//
// Such wrappers may ignore the context, keep the credentials that they found once, share what is not safe to share, panic on answers that they do not
// expect, and quote what they were given in errors. Around one, this package guarantees: a call returns by its deadline, and only so many
// calls are under way, however many hang; a wrapper instance is used by one call at a time; it is made again after its
// credentials were refused; a panic is an error; additional data, key id and version are bound to the blob; and the
// wrapper sees a data key in place of the secret.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// Options describe the wrapper.
type Options struct {
	Name, Type string
	Timeout    time.Duration
	MaxCalls   int               // instances, and calls under way, at most
	Metadata   map[string]string // what SetConfig shows; no secrets

	// Open makes an instance that is ready for use. It may ask the service, and ignore the context.
	Open func(context.Context) (wrapping.Wrapper, error)
	// ID is the canonical id of the key where the configuration tells it; "" is what an instance's KeyId says.
	ID string
	// Versioned is set where the key id in an instance's blobs is that of the version, not of the key.
	Versioned bool
	// Classify makes a failure of an instance's error; operation is "open", "encrypt" or "decrypt". It must not quote
	// what the wrapper was given.
	Classify func(operation string, err error) *seals.Failure
}

// Wrapper is the seal. It is safe for use by many goroutines.
type Wrapper struct {
	o     Options
	limit *remote.Limiter

	mu   sync.Mutex
	idle []wrapping.Wrapper
	id   string // as far as it is known
}

// New makes the seal; nothing is opened yet.
func New(o Options) *Wrapper { return &Wrapper{o: o, limit: remote.NewLimiter(o.MaxCalls), id: o.ID} }

// errMoved is returned within Encrypt where the configured alias leads to another key by now.
var errMoved = errors.New("the alias leads to another key")

// lane runs a call on an instance that no other call uses.
func caller[T any](ctx context.Context, w *Wrapper, operation string, call func(context.Context, wrapping.Wrapper) (T, error), drop func(T)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	v, err := remote.Call(ctx, w.limit, func(ctx context.Context) (v T, err error) {
		ctx = context.WithoutCancel(ctx) // some libraries leave a goroutine behind for good when their context ends
		inner, err := w.take(ctx)
		if err != nil {
			return v, w.classify("open", err)
		}
		v, err = call(ctx, inner)
		if err != nil {
			f := w.classify(operation, err)
			if f.Class != seals.Denied { // else its credentials may be old: the next instance finds them anew
				w.put(inner)
			}
			return v, f
		}
		w.put(inner)
		return v, nil
	}, drop)
	if err == nil {
		return v, nil
	}
	f := *seals.Classify(err)
	f.Err = fmt.Errorf("seal %q %q: %w", w.o.Type, w.o.Name, f.Err)
	return v, &f
}

func (w *Wrapper) classify(operation string, err error) *seals.Failure {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, errMoved) {
		return seals.Fail(seals.Unknown, err, "try again")
	}
	return w.o.Classify(operation, err)
}

func (w *Wrapper) take(ctx context.Context) (wrapping.Wrapper, error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		inner := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		return inner, nil
	}
	w.mu.Unlock()
	inner, err := w.o.Open(ctx)
	if err != nil {
		return nil, err
	}
	if w.o.ID == "" {
		id, err := inner.KeyId(ctx)
		if err != nil {
			return nil, err
		}
		w.moved(id)
	}
	return inner, nil
}

func (w *Wrapper) put(inner wrapping.Wrapper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, inner)
}

func (w *Wrapper) moved(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = id
}

func (w *Wrapper) known() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id
}

// KeyId returns the canonical id of the key; the service is asked once where only it knows.
func (w *Wrapper) KeyId(ctx context.Context) (string, error) {
	if id := w.known(); id != "" {
		return id, nil
	}
	id, err := caller(ctx, w, "open", func(context.Context, wrapping.Wrapper) (string, error) { return w.known(), nil }, nil)
	if err == nil && id == "" {
		return "", seals.Fail(seals.Corrupt, fmt.Errorf("seal %q %q: the service tells no id of the key", w.o.Type, w.o.Name), "see what stands at its address")
	}
	return id, err
}

// Encrypt encrypts a secret; wrapping.WithAad binds additional data. The blob is that of package envelope; its wrapped key is the blob, in
// protobuf, that the wrapper made of the data key.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	for attempt := 0; ; attempt++ {
		id, err := w.KeyId(ctx)
		if err != nil {
			return nil, err
		}
		blob, err := envelope.Encrypt(ctx, id, plain, options, func(ctx context.Context, key, _ []byte) (envelope.Wrapped, error) {
			return w.wrap(ctx, id, key)
		})
		if !errors.Is(err, errMoved) || attempt > 0 {
			return blob, err
		}
	}
}

func (w *Wrapper) wrap(ctx context.Context, id string, key []byte) (envelope.Wrapped, error) {
	key = append([]byte(nil), key...) // the call may be left behind, and the key is cleared
	inner, err := caller(ctx, w, "encrypt", func(ctx context.Context, inner wrapping.Wrapper) (*wrapping.BlobInfo, error) {
		defer clear(key)
		blob, err := inner.Encrypt(ctx, key)
		if err == nil && w.o.ID == "" && blob.GetKeyInfo().GetKeyId() != id {
			w.moved(blob.GetKeyInfo().GetKeyId())
			return nil, errMoved
		}
		return blob, err
	}, nil)
	if err != nil {
		return envelope.Wrapped{}, err
	}
	raw, err := proto.Marshal(inner)
	if err != nil {
		return envelope.Wrapped{}, seals.Fail(seals.Corrupt, err, "see what stands at the service's address")
	}
	wrapped := envelope.Wrapped{Key: raw}
	if w.o.Versioned {
		wrapped.Version = inner.GetKeyInfo().GetKeyId()
	}
	return wrapped, nil
}

// ivLen is of the blobs of the wrappers' own envelopes: their AES-GCM panics on another length.
const ivLen = 12

// Decrypt decrypts what Encrypt returned, with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	if len(blob.GetKeyInfo().GetWrappedKey()) == 0 || blob.GetKeyInfo().GetKeyId() == "" {
		return nil, envelope.Corrupt(envelope.ErrBlob) // without asking the service for the key's id
	}
	id, err := w.KeyId(ctx)
	if err != nil {
		return nil, err
	}
	return envelope.Decrypt(ctx, id, blob, options, func(ctx context.Context, wrapped envelope.Wrapped, _ []byte) ([]byte, error) {
		inner := &wrapping.BlobInfo{}
		if err := proto.Unmarshal(wrapped.Key, inner); err != nil || inner.KeyInfo == nil || len(inner.Iv) != ivLen {
			return nil, envelope.Corrupt(envelope.ErrBlob)
		}
		return caller(ctx, w, "decrypt", func(ctx context.Context, foreign wrapping.Wrapper) ([]byte, error) {
			return foreign.Decrypt(ctx, inner)
		}, func(late []byte) { clear(late) })
	})
}

// Type returns the wrapper's type.
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperType(w.o.Type), nil
}

// SetConfig returns what the seal is configured with, without secrets. The configuration itself is given when it is made: one in the options is refused.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.Fail(seals.Misconfigured, fmt.Errorf("seal %q %q: the seal is configured when it is made", w.o.Type, w.o.Name), "make another one")
	}
	return &wrapping.WrapperConfig{Metadata: w.o.Metadata}, nil
}

// VersionOf is the version that made a blob, "" where the wrapper does not tell.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string { return envelope.VersionOf(blob) }

// Close lets go of the instances. Connections that their libraries hold end when the service ends them.
func (w *Wrapper) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = nil
	return nil
}
