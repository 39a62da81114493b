package gcpkms

import (
	"crypto/rand"
	"crypto/sha256"
	"io"
	"log/slog"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Options configure a service. The zero value is a service in memory with the system clock.
type Options struct {
	State  string // the file that keeps rings and keys; "" keeps them in memory
	Quotas Quotas // a minute; zero values are Google's
	Now    func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
}

// Service is the emulator's logic; [Start] adds listeners. It is safe for concurrent use.
type Service struct {
	kmspb.UnimplementedKeyManagementServiceServer
	o Options

	mu       sync.Mutex
	rings    map[string]*ring // by name
	accounts map[string]*account
	tokens   map[[sha256.Size]byte]grantedToken
	used     map[string]*usage

	faults faults
}

// New reads the state file, if there is one.
func New(o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Quotas = o.Quotas.orGoogles()
	s := &Service{
		o: o, rings: map[string]*ring{}, accounts: map[string]*account{}, tokens: map[[sha256.Size]byte]grantedToken{},
		used:   map[string]*usage{},
		faults: faults{calls: map[string]int{}, changed: make(chan struct{})},
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// findKey returns a key with all due changes applied. Callers hold the lock.
//
// Source: cloud.google.com/apis/design/errors: NOT_FOUND for those who may see whether a resource
// exists.
func (s *Service) findKey(n name) (*key, error) {
	r := s.rings[n.ofRing().String()]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "KeyRing %s not found.", n.ofRing())
	}
	k := r.Keys[n.key]
	if k == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKey %s not found.", n.ofKey())
	}
	changed, err := s.settle(n.ofKey(), k)
	if err != nil {
		return nil, err
	}
	if changed {
		return k, s.save()
	}
	return k, nil
}

func (s *Service) findVersion(n name) (*key, *version, error) {
	k, err := s.findKey(n)
	if err != nil {
		return nil, nil, err
	}
	if n.version > uint64(len(k.Versions)) {
		return nil, nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", n)
	}
	return k, k.Versions[n.version-1], nil
}

// unfit is Google's error for a resource whose state or purpose does not allow a request.
func unfit(n name, value, field string) error {
	return status.Errorf(codes.FailedPrecondition,
		"The request cannot be fulfilled. Resource %s has value %s in field %s.", n, value, field)
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}
