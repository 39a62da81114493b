package kmsv2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	kms "k8s.io/kms/apis/v2"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
)

// Limits of the API server, and of what it sends: seeds of 32 bytes.
const (
	maxCiphertext = 1024
	maxPlaintext  = 512
	maxKeyID      = 1024
	version       = "v2"
)

// Options make a service.
type Options struct {
	Key    Key
	Name   string        // of the socket, for logs and metrics
	Budget time.Duration // how long the key may be unavailable before Status is an error; 0: not at all
	// Deadline of a call; 0 means 2 s. The API server's is 3 s.
	Deadline time.Duration
	// Slow is the time of a proof above which healthz says so; 0 means 500 ms.
	Slow time.Duration
	// Fresh is how long a proof counts; 0 means 15 s. A failed one counts for a tenth of it.
	Fresh time.Duration
	// Foreign lets Decrypt take the key_ids of another plugin that used the same transit key, without
	// additional data. It is for a migration.
	Foreign bool
	Rand    io.Reader        // nil means crypto/rand
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil means that nothing is logged
	Metrics *metrics.Registry
}

func (o *Options) defaults() {
	o.Deadline = cmp.Or(o.Deadline, 2*time.Second)
	o.Slow = cmp.Or(o.Slow, 500*time.Millisecond)
	o.Fresh = cmp.Or(o.Fresh, 15*time.Second)
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Service answers the three calls of the protocol.
type Service struct {
	kms.UnimplementedKeyManagementServiceServer
	o       Options
	health  *health
	calls   map[string]*metrics.Timer
	refused map[string]*metrics.Counter
}

// New returns a service. It uses the key when it is first asked.
func New(o Options) *Service {
	o.defaults()
	s := &Service{o: o, calls: map[string]*metrics.Timer{}, refused: map[string]*metrics.Counter{}}
	s.health = newHealth(&s.o)
	for _, call := range []string{"status", "encrypt", "decrypt"} {
		s.calls[call] = o.Metrics.Timer("sealgate.kmsv2."+call, "socket", o.Name)
		s.refused[call] = o.Metrics.Counter("sealgate.kmsv2."+call+".refused", "socket", o.Name)
	}
	if o.Metrics != nil {
		o.Metrics.Sampled(s.sample)
	}
	return s
}

// sample shows the key_id hash of the API server's metrics, so that both can be compared.
func (s *Service) sample(m *metrics.Sample) {
	if pin, ok := s.health.pinned(); ok {
		m.Gauge("sealgate.kmsv2.key_info", 1, "socket", s.o.Name, "key_id_hash", HashOf(pin.KeyID))
	}
	m.Gauge("sealgate.kmsv2.healthy", metrics.Truth(s.health.ok()), "socket", s.o.Name)
}

// State is the result of Status, for operators.
type State struct {
	Healthz string    // "ok" or a warning; "" where Status fails
	Error   string    // why Status fails
	Pin     Pin       // the last that was proven
	Proven  time.Time // when it was
}

// State proves the key as Status does.
func (s *Service) State(ctx context.Context) State {
	_, healthz, err := s.health.status(ctx)
	st := State{Healthz: healthz}
	if err != nil {
		st.Error = brief(err)
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	st.Pin, st.Proven = s.health.current, s.health.good
	return st
}

// Healthy reports whether the last proof of the key succeeded.
func (s *Service) Healthy() bool { return s.health.ok() }

// Status pins the newest version of the key and proves it.
func (s *Service) Status(ctx context.Context, _ *kms.StatusRequest) (*kms.StatusResponse, error) {
	return serve(ctx, s, "status", func(ctx context.Context) (*kms.StatusResponse, error) {
		pin, text, err := s.health.status(ctx)
		if err != nil {
			return nil, err
		}
		return &kms.StatusResponse{Version: version, Healthz: text, KeyId: pin.KeyID}, nil
	})
}

// Encrypt encrypts by the version that the last Status returned.
func (s *Service) Encrypt(ctx context.Context, r *kms.EncryptRequest) (*kms.EncryptResponse, error) {
	return serve(ctx, s, "encrypt", func(ctx context.Context) (*kms.EncryptResponse, error) {
		if n := len(r.GetPlaintext()); n == 0 || n > maxPlaintext {
			return nil, fault.New(fault.Invalid, "the plaintext has %d bytes; the API server sends 1 to %d", n, maxPlaintext)
		}
		pin, err := s.health.pin(ctx)
		if err != nil {
			return nil, err
		}
		text, err := s.o.Key.Encrypt(ctx, callOf(ctx, r.GetUid()), pin, r.GetPlaintext(), aadOf(pin.KeyID))
		if err != nil {
			return nil, err
		}
		if len(text) == 0 || len(text) > maxCiphertext {
			return nil, fault.New(fault.Internal, "the ciphertext has %d bytes; the API server takes 1 to %d", len(text),
				maxCiphertext)
		}
		return &kms.EncryptResponse{Ciphertext: text, KeyId: pin.KeyID}, nil
	})
}

// Decrypt decrypts what Encrypt returned under any key_id, old ones too.
func (s *Service) Decrypt(ctx context.Context, r *kms.DecryptRequest) (*kms.DecryptResponse, error) {
	return serve(ctx, s, "decrypt", func(ctx context.Context) (*kms.DecryptResponse, error) {
		id := r.GetKeyId()
		switch {
		case len(r.GetCiphertext()) == 0 || len(r.GetCiphertext()) > maxCiphertext:
			return nil, fault.New(fault.Invalid, "the ciphertext has %d bytes; this plugin returns 1 to %d",
				len(r.GetCiphertext()), maxCiphertext)
		case id == "" || len(id) > maxKeyID:
			return nil, fault.New(fault.Invalid, "the key_id has %d bytes; this plugin returns 1 to %d", len(id), maxKeyID)
		case len(r.GetAnnotations()) > 0 && !s.o.Foreign:
			return nil, fault.New(fault.Invalid, "the object has annotations; this plugin makes none")
		case !strings.HasPrefix(id, keyIDPrefix) && !s.o.Foreign:
			return nil, fault.New(fault.Invalid, "the key_id is of another plugin; set decrypt_foreign if it used the same "+
				"transit key")
		}
		plaintext, err := s.o.Key.Decrypt(ctx, callOf(ctx, r.GetUid()), id, r.GetCiphertext(), aadOf(id))
		if err != nil {
			return nil, err
		}
		s.opened(id)
		return &kms.DecryptResponse{Plaintext: plaintext}, nil
	})
}

// opened counts what key_ids are still needed, of this node. A key_id that opened something is
// bound to it, so that there are as many series as versions; those of other plugins share one.
func (s *Service) opened(keyID string) {
	hash := HashOf(keyID)
	if !strings.HasPrefix(keyID, keyIDPrefix) {
		hash = "foreign"
	}
	s.o.Metrics.Counter("sealgate.kmsv2.opened", "socket", s.o.Name, "key_id_hash", hash).Inc()
}

// serve bounds a call, measures it and converts its error.
func serve[T any](ctx context.Context, s *Service, call string, f func(context.Context) (*T, error)) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Deadline)
	defer cancel()
	begun := s.o.Now()
	answer, err := f(ctx)
	s.calls[call].Observe(s.o.Now().Sub(begun))
	if err == nil {
		return answer, nil
	}
	s.refused[call].Inc()
	s.o.Log.Warn("the KMS plugin refuses a call", "socket", s.o.Name, "call", call, "error", err,
		"cause", errors.Unwrap(err))
	return nil, grpcError(ctx, err)
}

// prove encrypts and decrypts a random text by a version.
func prove(ctx context.Context, o *Options, p Pin) error {
	var text [32]byte
	if _, err := io.ReadFull(o.Rand, text[:]); err != nil {
		return err
	}
	c, aad := Call{UID: proofUID}, aadOf(p.KeyID)
	sealed, err := o.Key.Encrypt(ctx, c, p, text[:], aad)
	if err != nil {
		return err
	}
	back, err := o.Key.Decrypt(ctx, c, p.KeyID, sealed, aad)
	if err != nil {
		return err
	}
	defer clear(back)
	if !bytes.Equal(back, text[:]) {
		return fault.New(fault.Internal, "the key decrypts to another text than it encrypted")
	}
	return nil
}
