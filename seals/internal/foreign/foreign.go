// Package foreign makes a seal of a third-party go-kms-wrapping wrapper.
//
// Such wrappers may ignore the context, keep refused credentials, share state that is not safe for
// concurrent use, panic on unexpected answers, and quote their arguments in errors. Around one,
// this package guarantees:
//   - A call returns by its deadline, and the number of calls is bounded even where some hang.
//   - A wrapper instance serves one call at a time, and is replaced when its credentials are
//     refused.
//   - A panic becomes an error.
//   - Additional data, key id and version are bound to the blob.
//   - The wrapper sees a data key instead of the secret.
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
	MaxCalls   int               // bounds the instances and the calls in progress
	Metadata   map[string]string // returned by SetConfig; no secrets

	// Open makes an instance that is ready for use. It may call the service and ignore the context.
	Open func(context.Context) (wrapping.Wrapper, error)
	// ID is the canonical id of the key where the configuration contains it; "" means KeyId of an
	// instance.
	ID string
	// Versioned is set where the key id in an instance's blobs is the id of the key version.
	Versioned bool
	// Classify makes a failure of an instance's error; operation is "open", "encrypt" or "decrypt".
	// It must not quote the wrapper's arguments.
	Classify func(operation string, err error) *seals.Failure
}

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	o     Options
	limit *remote.Limiter

	mu   sync.Mutex
	idle []wrapping.Wrapper
	id   string // "" until it is known
}

// New makes the seal. It opens no instance.
func New(o Options) *Wrapper { return &Wrapper{o: o, limit: remote.NewLimiter(o.MaxCalls), id: o.ID} }

// errMoved is returned within Encrypt where the configured alias now names another key.
var errMoved = errors.New("the alias now names another key")

// caller runs a call on an instance that no other call uses.
func caller[T any](
	ctx context.Context,
	w *Wrapper,
	operation string,
	call func(context.Context, wrapping.Wrapper) (T, error),
	drop func(T),
) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	v, err := remote.Call(ctx, w.limit, func(ctx context.Context) (v T, err error) {
		ctx = context.WithoutCancel(ctx) // some libraries leak a goroutine when their context ends
		inner, err := w.take(ctx)
		if err != nil {
			return v, w.classify("open", err)
		}
		v, err = call(ctx, inner)
		if err != nil {
			f := w.classify(operation, err)
			if f.Class != seals.Denied { // the next instance reads the credentials again
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

// KeyId returns the canonical id of the key. It asks the service once where the configuration does
// not contain the id.
func (w *Wrapper) KeyId(ctx context.Context) (string, error) {
	if id := w.known(); id != "" {
		return id, nil
	}
	id, err := caller(
		ctx,
		w,
		"open",
		func(context.Context, wrapping.Wrapper) (string, error) { return w.known(), nil },
		nil,
	)
	if err == nil && id == "" {
		return "", seals.Fail(
			seals.Corrupt,
			fmt.Errorf("seal %q %q: the service returned no key id", w.o.Type, w.o.Name),
			"check that the service's address is correct and no proxy answers in its place",
		)
	}
	return id, err
}

// Encrypt encrypts a secret; wrapping.WithAad binds additional data. The blob has the format of
// package envelope; its wrapped key is the blob, in protobuf, that the wrapper made of the data
// key.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	for attempt := 0; ; attempt++ {
		id, err := w.KeyId(ctx)
		if err != nil {
			return nil, err
		}
		blob, err := envelope.Encrypt(
			ctx,
			id,
			plain,
			options,
			func(ctx context.Context, key, _ []byte) (envelope.Wrapped, error) {
				return w.wrap(ctx, id, key)
			},
		)
		if !errors.Is(err, errMoved) || attempt > 0 {
			return blob, err
		}
	}
}

func (w *Wrapper) wrap(ctx context.Context, id string, key []byte) (envelope.Wrapped, error) {
	key = append([]byte(nil), key...) // an abandoned call outlives the key
	inner, err := caller(
		ctx,
		w,
		"encrypt",
		func(ctx context.Context, inner wrapping.Wrapper) (*wrapping.BlobInfo, error) {
			defer clear(key)
			blob, err := inner.Encrypt(ctx, key)
			if err == nil && w.o.ID == "" && blob.GetKeyInfo().GetKeyId() != id {
				w.moved(blob.GetKeyInfo().GetKeyId())
				return nil, errMoved
			}
			return blob, err
		},
		nil,
	)
	if err != nil {
		return envelope.Wrapped{}, err
	}
	raw, err := proto.Marshal(inner)
	if err != nil {
		return envelope.Wrapped{}, seals.Fail(seals.Corrupt, err,
			"check that the service's address is correct and no proxy answers in its place")
	}
	wrapped := envelope.Wrapped{Key: raw}
	if w.o.Versioned {
		wrapped.Version = inner.GetKeyInfo().GetKeyId()
	}
	return wrapped, nil
}

// ivLen is the length of the IV in the wrappers' own envelopes. Their AES-GCM panics on another
// length.
const ivLen = 12

// Decrypt decrypts a blob of Encrypt with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	if len(blob.GetKeyInfo().GetWrappedKey()) == 0 || blob.GetKeyInfo().GetKeyId() == "" {
		return nil, envelope.Corrupt(envelope.ErrBlob) // without asking the service for the key's id
	}
	id, err := w.KeyId(ctx)
	if err != nil {
		return nil, err
	}
	return envelope.Decrypt(
		ctx,
		id,
		blob,
		options,
		func(ctx context.Context, wrapped envelope.Wrapped, _ []byte) ([]byte, error) {
			inner := &wrapping.BlobInfo{}
			if err := proto.Unmarshal(wrapped.Key, inner); err != nil || inner.KeyInfo == nil ||
				len(inner.Iv) != ivLen {
				return nil, envelope.Corrupt(envelope.ErrBlob)
			}
			return caller(ctx, w, "decrypt", func(ctx context.Context, foreign wrapping.Wrapper) ([]byte, error) {
				return foreign.Decrypt(ctx, inner)
			}, func(late []byte) { clear(late) })
		},
	)
}

// Type returns the wrapper's type.
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperType(w.o.Type), nil
}

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// the seal is configured by New.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError(w.o.Type, w.o.Name, seals.ErrSetConfig)
	}
	return &wrapping.WrapperConfig{Metadata: w.o.Metadata}, nil
}

// VersionOf returns the version that made a blob, "" where the blob has none.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string { return envelope.VersionOf(blob) }

// Timeout implements [seals.Bounded].
func (w *Wrapper) Timeout() time.Duration { return w.o.Timeout }

// Close drops the instances. Connections that their libraries hold end when the service ends them.
func (w *Wrapper) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = nil
	return nil
}
