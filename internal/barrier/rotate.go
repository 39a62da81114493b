package barrier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/storage"
)

// Bounds of a RotationConfig. The upper one is 90 % of 2^32 encryptions, the limit of NIST SP
// 800-38D 8.3 for random nonces.
const (
	minInterval   = 24 * time.Hour
	minOperations = 1_000_000
	maxOperations = 3_865_470_566
	minBytes      = 1 << 20
)

// Rotate adds a term and returns its number.
func (b *Barrier) Rotate(ctx context.Context) (uint32, error) {
	tx := b.Begin()
	tx.RotateKeyring()
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return b.KeyStatus().Term, nil
}

// RotateIfDue rotates where the configuration requires it: the active term is too old, or has
// encrypted too much. A term whose count is in doubt is rotated in any case. The caller ensures
// that a single node does so, every few minutes.
func (b *Barrier) RotateIfDue(ctx context.Context) (rotated bool, err error) {
	doubtful, err := b.doubtful(ctx)
	if err != nil {
		return false, err
	}
	if !doubtful {
		config, err := b.RotationConfig(ctx)
		if err != nil || !config.due(b.KeyStatus(), b.now()) && !b.tooMuch(config) {
			return false, err
		}
	}
	if _, err := b.Rotate(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// RotationConfig says when the barrier key is rotated automatically. It is stored as an entry:
//
//	version 1 | enabled u8 (0, 1) | interval i64 (nanoseconds) | max operations i64
//	version 2 | the same | max bytes i64
//
// Version 2 is written where there is a limit of bytes.
type RotationConfig struct {
	Enabled       bool
	Interval      time.Duration // 0: never; else at least 24 hours
	MaxOperations int64         // encryptions by one term
	MaxBytes      int64         // stored under one term, by the census; 0: no limit
}

const (
	rotationVersion      = 1
	rotationVersionBytes = 2
)

// DefaultRotation applies until another configuration is stored.
func DefaultRotation() RotationConfig {
	return RotationConfig{Enabled: true, MaxOperations: maxOperations}
}

func (c RotationConfig) check() error {
	switch {
	case c.Interval != 0 && c.Interval < minInterval:
		return ErrInterval
	case c.MaxOperations < minOperations || c.MaxOperations > maxOperations:
		return ErrMaxOperations
	case c.MaxBytes != 0 && c.MaxBytes < minBytes:
		return ErrMaxBytes
	}
	return nil
}

// tooMuch reports whether more is stored under the active term than the configuration allows.
func (b *Barrier) tooMuch(c RotationConfig) bool {
	return c.Enabled && c.MaxBytes > 0 && b.Census().Of(b.KeyStatus().Term).Bytes >= c.MaxBytes
}

func (c RotationConfig) due(s KeyStatus, now time.Time) bool {
	if !c.Enabled || s.Term == 0 {
		return false
	}
	return s.Encryptions >= uint64(c.MaxOperations) || c.Interval > 0 && !now.Before(s.Installed.Add(c.Interval))
}

// RotationConfig returns the configuration that applies.
func (b *Barrier) RotationConfig(ctx context.Context) (RotationConfig, error) {
	plain, err := b.Get(ctx, rotationPath)
	if errors.Is(err, storage.ErrNotFound) {
		return DefaultRotation(), nil
	}
	if err != nil {
		return RotationConfig{}, err
	}
	return unmarshalRotation(plain)
}

// SetRotationConfig stores a configuration. Values out of bounds give ErrInterval or
// ErrMaxOperations.
func (b *Barrier) SetRotationConfig(ctx context.Context, c RotationConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	return b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(rotationPath, c.marshal())}})
}

func (c RotationConfig) marshal() []byte {
	b := cryptobyte.NewBuilder(nil)
	if c.MaxBytes > 0 {
		b.AddUint8(rotationVersionBytes)
	} else {
		b.AddUint8(rotationVersion)
	}
	if c.Enabled {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
	b.AddUint64(uint64(c.Interval))
	b.AddUint64(uint64(c.MaxOperations))
	if c.MaxBytes > 0 {
		b.AddUint64(uint64(c.MaxBytes))
	}
	return b.BytesOrPanic() // fixed size
}

func unmarshalRotation(plain []byte) (RotationConfig, error) {
	var version, enabled uint8
	var interval, operations, size uint64
	in := cryptobyte.String(plain)
	if !in.ReadUint8(&version) || version != rotationVersion && version != rotationVersionBytes ||
		!in.ReadUint8(&enabled) || enabled > 1 || !in.ReadUint64(&interval) || !in.ReadUint64(&operations) ||
		version == rotationVersionBytes && (!in.ReadUint64(&size) || size == 0) || !in.Empty() {
		return RotationConfig{}, corrupt(rotationPath, "the configuration is malformed")
	}
	c := RotationConfig{Enabled: enabled == 1, Interval: time.Duration(interval), MaxOperations: int64(operations),
		MaxBytes: int64(size)}
	if err := c.check(); err != nil {
		return RotationConfig{}, corrupt(rotationPath, fmt.Sprintf("the configuration is out of bounds: %v", err))
	}
	return c, nil
}
