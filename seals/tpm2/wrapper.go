package tpm2

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-tpm/tpm2"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// Wrapper is the seal. It is safe for concurrent use; the TPM does one thing at a time.
type Wrapper struct {
	name     string
	log      *slog.Logger
	settings settings
	limit    *remote.Limiter
	refused  atomic.Bool // the TPM refused the PIN: it is not sent again
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
	_ seals.Successor  = (*Wrapper)(nil)
)

const (
	format  = 1
	flagPIN = 1
	maxPart = 2048
)

// New reads a stanza:
//
//	device          path of the TPM, or unix: and a virtual TPM's socket; default: /dev/tpmrm0
//	pcrs            registers of the SHA-256 bank to which the secret is bound, such as "0,7"
//	pin             authorises the use of what was sealed; env://NAME or file://PATH
//	pin_final_try   send the PIN even if the TPM has a single try left before its lock-out
//	key_label       makes another key of the same TPM; default: the TCG's storage root key
//	timeout         of each call; default: 10s
//
// An error is a mistake in the stanza. New does not open the device.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("tpm2", cfg.Name, err)
	}
	return &Wrapper{name: cfg.Name, log: cfg.Log, settings: s, limit: remote.NewLimiter(1)}, nil
}

// Type returns "tpm2".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) { return "tpm2", nil }

// Timeout implements [seals.Bounded].
func (w *Wrapper) Timeout() time.Duration { return w.settings.timeout }

// Succeed takes over that the PIN was refused, so that a reload does not send it again.
func (w *Wrapper) Succeed(old wrapping.Wrapper) {
	if o, ok := old.(*Wrapper); ok && o.settings.pin.Equal(w.settings.pin) && o.settings.device == w.settings.device {
		w.refused.Store(o.refused.Load())
	}
}

// Close wipes the PIN.
func (w *Wrapper) Close() error {
	w.settings.pin.Destroy()
	return nil
}

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// the seal is configured by New.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError("tpm2", w.name, seals.ErrSetConfig)
	}
	return &wrapping.WrapperConfig{Metadata: map[string]string{
		"device": w.settings.device, "key_label": w.settings.label, "pcrs": numbers(w.settings.pcrs),
	}}, nil
}

func numbers(mask uint32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list(mask)), " ", ","), "[]")
}

// KeyId returns the name of the primary key: a digest of its public half.
func (w *Wrapper) KeyId(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	id, err := with(ctx, w, func(s *session) (string, error) { return s.id(), nil })
	if err != nil {
		return "", w.failure("find its key", err)
	}
	return id, nil
}

// with opens the TPM, makes the primary key and runs f.
func with[T any](ctx context.Context, w *Wrapper, f func(*session) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return remote.Call(ctx, w.limit, func(ctx context.Context) (out T, err error) {
		deadline, _ := ctx.Deadline()
		d, err := open(w.settings.device, deadline)
		if err != nil {
			return out, err
		}
		defer d.Close() //nolint:errcheck // it was used
		if !d.whole {   // a socket has no resource manager
			flush(d)
		}
		s, err := begin(d, w.settings.label)
		if err != nil {
			return out, err
		}
		defer s.end()
		return f(s)
	}, nil)
}

// Encrypt seals a secret; wrapping.WithAad binds additional data.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	id, err := w.KeyId(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Encrypt(ctx, id, plain, options, func(ctx context.Context, key, _ []byte) (envelope.Wrapped, error) {
		own := seals.NewSecret(append([]byte{}, key...)) // an abandoned call outlives key
		blob, err := with(ctx, w, func(s *session) ([]byte, error) {
			defer own.Destroy()
			return s.seal(own, w.settings.pin, w.settings.pcrs)
		})
		if err != nil {
			return envelope.Wrapped{}, w.failure("encrypt", err)
		}
		return envelope.Wrapped{Key: blob}, nil
	})
}

// Decrypt opens a blob of Encrypt.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	id, err := w.KeyId(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Decrypt(ctx, id, blob, options,
		func(ctx context.Context, wrapped envelope.Wrapped, _ []byte) ([]byte, error) {
			b, ok := parseBlob(wrapped.Key)
			if !ok {
				return nil, envelope.Corrupt(envelope.ErrBlob)
			}
			plain, err := with(ctx, w, func(s *session) ([]byte, error) { return w.unseal(s, b) })
			if err != nil {
				return nil, w.failure("decrypt", err)
			}
			return plain, nil
		})
}

// unseal sends the PIN only where that is safe.
func (w *Wrapper) unseal(s *session, b sealed) ([]byte, error) {
	if b.needsPIN {
		if w.refused.Load() {
			return nil, errPINRefused
		}
		if w.settings.pin.Len() == 0 {
			return nil, errNoPIN
		}
		l, err := s.lockout()
		if err != nil {
			return nil, err
		}
		switch {
		case l.failed >= l.most:
			return nil, fmt.Errorf("%w until it recovers a try, one in %s", errLockedOut, l.recovers)
		case l.failed+1 >= l.most && !w.settings.last:
			return nil, fmt.Errorf("%w: %d of %d wrong authorisations were counted, by any program of this machine",
				errLastTry, l.failed, l.most)
		}
	}
	plain, err := s.unseal(b, w.settings.pin)
	if errors.Is(err, tpm2.TPMRCAuthFail) || errors.Is(err, tpm2.TPMRCBadAuth) {
		w.refused.Store(true)
		err = errors.Join(errPINRefused, err)
	}
	return plain, err
}

// sealed is a parsed blob.
type sealed struct {
	needsPIN        bool
	pcrs            uint32
	public, private []byte
}

func (b sealed) marshal() ([]byte, error) {
	var out cryptobyte.Builder
	out.AddUint8(format)
	flags := uint8(0)
	if b.needsPIN {
		flags = flagPIN
	}
	out.AddUint8(flags)
	out.AddUint32(b.pcrs)
	for _, part := range [][]byte{b.public, b.private} {
		out.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(part) })
	}
	return out.Bytes()
}

func parseBlob(raw []byte) (b sealed, ok bool) {
	in := cryptobyte.String(raw)
	var version, flags uint8
	var public, private cryptobyte.String
	ok = in.ReadUint8(&version) && version == format && in.ReadUint8(&flags) && flags <= flagPIN &&
		in.ReadUint32(&b.pcrs) && b.pcrs < 1<<24 && in.ReadUint16LengthPrefixed(&public) &&
		in.ReadUint16LengthPrefixed(&private) && in.Empty() && len(public) > 0 && len(public) <= maxPart &&
		len(private) > 0 && len(private) <= maxPart
	b.needsPIN, b.public, b.private = flags&flagPIN != 0, public, private
	return b, ok
}

// Describe reports the TPM and its lock-out counter.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	st, err := with(ctx, w, func(s *session) (seals.KeyState, error) {
		l, err := s.lockout()
		if err != nil {
			return seals.KeyState{}, err
		}
		st := seals.KeyState{ID: s.id(), State: "enabled", Protection: "TPM 2.0", Detail: map[string]string{
			"additional data": "bound here, by the data key", "wrong authorisations": fmt.Sprintf("%d of %d", l.failed, l.most),
		}}
		if w.settings.pcrs != 0 {
			st.Detail["pcrs"] = "sha256:" + numbers(w.settings.pcrs)
		}
		if w.settings.pin.Len() > 0 && l.failed+1 >= l.most {
			st.Detail["degraded"] = "the TPM is about to lock itself out: " + st.Detail["wrong authorisations"]
		}
		return st, nil
	})
	if err != nil {
		return seals.KeyState{}, w.failure("describe", err)
	}
	return st, nil
}

func idOf(name []byte) string { return "tpm2:" + hex.EncodeToString(name) }
