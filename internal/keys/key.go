package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Version is one key of a [Key]. It is not changed once others can see it.
type Version struct {
	Number   int
	Created  time.Time
	Provider string
	Material Material
	Chain    [][]byte // certificates, leaf first

	once   sync.Once
	handle any
	err    error
}

// Key is a named key as of one commit. It does not change; its versions are decoded when they are
// first used.
type Key struct {
	Name string
	Settings

	id    id
	store *Store
	cache *versions // shared by what follows from one another
	use   *Usage
}

// versions are those that are decoded.
type versions struct {
	mu sync.RWMutex
	by map[int]*Version
}

func (k *Key) versionKey(n int) string {
	return versionsPrefix + hex.EncodeToString(k.id[:]) + "/" + strconv.Itoa(n)
}

// Version returns a version by its number.
func (k *Key) Version(ctx context.Context, n int) (*Version, error) {
	if n < 1 || n > k.Latest || n < k.MinAvailable {
		return nil, ErrNoVersion
	}
	k.cache.mu.RLock()
	v := k.cache.by[n]
	k.cache.mu.RUnlock()
	if v != nil {
		return v, nil
	}
	b, err := k.store.base.Get(ctx, k.versionKey(n))
	if errors.Is(err, storage.ErrNotFound) { // trimmed, or the key was deleted, since this snapshot of it was taken
		return nil, ErrNoVersion
	}
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if v, err = parseVersion(b); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "version %d of key %s cannot be read: its record is damaged", n, k.Name)
	}
	if v.Number != n {
		return nil, fmt.Errorf("%w: version %d in the place of version %d", ErrRecord, v.Number, n)
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if other := k.cache.by[n]; other != nil {
		return other, nil
	}
	k.cache.by[n] = v
	return v, nil
}

// Handle opens a version, once.
func (k *Key) Handle(ctx context.Context, v *Version) (any, error) {
	v.once.Do(func() {
		p := k.store.providers[v.Provider]
		if p == nil {
			v.err = fault.New(fault.Unavailable, "version %d of key %s is held by the provider %q, which this "+
				"server does not have",
				v.Number, k.Name, v.Provider)
			return
		}
		v.handle, v.err = p.Open(context.WithoutCancel(ctx), k.Spec, v.Material)
		if errors.Is(v.err, ErrRecord) {
			v.err = fault.Wrap(v.err, fault.Internal, "version %d of key %s cannot be used: its record is damaged", v.Number,
				k.Name)
		}
	})
	return v.handle, v.err
}

// unsupported says that a version's provider cannot do something. Nothing else does it in its
// place.
func (k *Key) unsupported(v *Version, what string) error {
	if v.Provider == Software {
		return fault.New(fault.Invalid, "key type %s does not support %s", k.Type, what)
	}
	return fault.New(fault.Invalid, "version %d of key %s is held by the provider %q, which does not support %s",
		v.Number, k.Name, v.Provider, what)
}

// capability opens a version for one kind of operation.
func capability[I any](ctx context.Context, k *Key, v *Version, what string) (I, error) {
	h, err := k.Handle(ctx, v)
	if err != nil {
		var none I
		return none, err
	}
	i, ok := h.(I)
	if !ok {
		return i, k.unsupported(v, what)
	}
	return i, nil
}

// Encrypter opens a version to encrypt and decrypt.
func (k *Key) Encrypter(ctx context.Context, v *Version) (Encrypter, error) {
	return capability[Encrypter](ctx, k, v, "encryption")
}

// Signer opens a version to sign and verify.
func (k *Key) Signer(ctx context.Context, v *Version) (Signer, error) {
	if err := k.Type.approved(); err != nil {
		return nil, err
	}
	return capability[Signer](ctx, k, v, "signing")
}

// MACer opens a version to compute HMACs.
func (k *Key) MACer(ctx context.Context, v *Version) (MACer, error) {
	return capability[MACer](ctx, k, v, "hmac")
}

// CMACer opens a version to compute CMACs.
func (k *Key) CMACer(ctx context.Context, v *Version) (CMACer, error) {
	if err := k.Type.approved(); err != nil {
		return nil, err
	}
	return capability[CMACer](ctx, k, v, "cmac")
}

// Agreer opens a version for ECDH.
func (k *Key) Agreer(ctx context.Context, v *Version) (Agreer, error) {
	return capability[Agreer](ctx, k, v, "key agreement")
}

// Exporter opens a version to show its key.
func (k *Key) Exporter(ctx context.Context, v *Version) (Exporter, error) {
	return capability[Exporter](ctx, k, v, "export")
}

// VersionToEncrypt checks a requested version, 0 for the latest. The texts name the operation.
func (k *Key) VersionToEncrypt(n int, operation string) (int, error) {
	if err := k.Type.approved(); err != nil {
		return 0, err
	}
	switch {
	case n == 0:
		return k.Latest, nil
	case n < 0 && operation == "encryption":
		return 0, errNegative
	case n < 0:
		return 0, Errors("requested version for %s is negative", operation)
	case n > k.Latest && operation == "encryption":
		return 0, errVersionHigh
	case n > k.Latest:
		return 0, Errors("requested version for %s is higher than the latest key version", operation)
	case n < max(k.MinEncryption, k.MinAvailable) && operation == "encryption":
		return 0, errVersionLow
	case n < max(k.MinEncryption, k.MinAvailable):
		return 0, Errors("requested version for %s is less than the minimum encryption key version", operation)
	}
	return n, nil
}

// CheckDecrypt refuses what was made by a version that may no longer be used.
func (k *Key) CheckDecrypt(n int) error {
	if n < k.MinDecryption || n < k.MinAvailable {
		return ErrTooOld
	}
	return nil
}

// Configure checks a change of the version limits. The texts are OpenBao's, with their spelling.
func (s *Settings) Configure(minDecryption, minEncryption *int) error {
	dec, enc := s.MinDecryption, s.MinEncryption
	if minDecryption != nil {
		switch dec = *minDecryption; {
		case dec < 0:
			return fault.New(fault.Invalid, "min decryption version cannot be negative")
		case dec == 0:
			dec = 1
		case dec > s.Latest:
			return fault.New(fault.Invalid, "cannot set min decryption version of %d, latest key version is %d", dec, s.Latest)
		}
	}
	if minEncryption != nil {
		switch enc = *minEncryption; {
		case enc < 0:
			return fault.New(fault.Invalid, "min encryption version cannot be negative")
		case enc > s.Latest:
			return fault.New(fault.Invalid, "cannot set min encryption version of %d, latest key version is %d", enc, s.Latest)
		}
	}
	switch {
	case enc > 0 && enc < dec:
		return fault.New(fault.Invalid, "cannot set min encryption/decryption values; min encryption version of %d must be "+
			"greater than or equal to min decryption version of %d", enc, dec)
	case enc < s.MinAvailable:
		return fault.New(fault.Invalid, "min encryption version should not be less than min available version")
	case dec < s.MinAvailable:
		return fault.New(fault.Invalid, "min decryption version should not be less then min available version")
	}
	s.MinDecryption, s.MinEncryption = dec, enc
	return nil
}

// Trim checks that the versions below to may go, and says so in the settings. The texts are
// OpenBao's, with their spelling.
func (s *Settings) Trim(to int) error {
	switch {
	case to < s.MinAvailable:
		return fault.New(fault.Invalid, "minimum available version cannot be decremented")
	case s.MinEncryption == 0:
		return fault.New(fault.Invalid, "minimum available version cannot be set when minimum encryption version is not set")
	case s.MinDecryption == 0:
		return fault.New(fault.Invalid, "minimum available version cannot be set when minimum decryption version is not set")
	case to > s.MinEncryption:
		return fault.New(fault.Invalid, "minimum available version cannot be greater than minmum encryption version")
	case to > s.MinDecryption:
		return fault.New(fault.Invalid, "minimum available version cannot be greater than minimum decryption version")
	case to == 0:
		return fault.New(fault.Invalid, "minimum available version should be positive")
	}
	s.MinAvailable = to
	return nil
}
