package transit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

const settingsKey = "config"

// settings are those of a mount, stored at "config" as
//
//	version u8 = 1 | flags u8: 1 no upsert | cache size u32 | window of use i64, ns
type settings struct {
	disableUpsert bool
	cacheSize     int
	useWindow     time.Duration // a version that was used within it may not go; 0: it may
}

const (
	settingsVersion = 1
	settingsSize    = 1 + 1 + 4 + 8
	flagNoUpsert    = 1
	leastCache      = 10
)

func (s settings) marshal() []byte {
	b := []byte{settingsVersion, 0}
	if s.disableUpsert {
		b[1] |= flagNoUpsert
	}
	b = binary.BigEndian.AppendUint32(b, uint32(s.cacheSize))
	return binary.BigEndian.AppendUint64(b, uint64(s.useWindow))
}

func parseSettings(b []byte) (s settings, err error) {
	if len(b) != settingsSize || b[0] != settingsVersion || b[1]&^flagNoUpsert != 0 {
		return s, fmt.Errorf("%w: version %d of a transit mount's settings is expected", keys.ErrRecord, settingsVersion)
	}
	s = settings{
		disableUpsert: b[1]&flagNoUpsert != 0, cacheSize: int(binary.BigEndian.Uint32(b[2:])),
		useWindow: time.Duration(binary.BigEndian.Uint64(b[6:])),
	}
	if s.cacheSize > 1<<30 || s.useWindow < 0 {
		return s, fmt.Errorf("%w: a transit mount's settings", keys.ErrRecord)
	}
	return s, nil
}

// config gives the mount's settings, read once.
func (b *backend) config(ctx context.Context) (settings, error) {
	if s := b.settings.Load(); s != nil {
		return *s, nil
	}
	b.settingsMu.Lock()
	defer b.settingsMu.Unlock()
	return b.readSettings(ctx)
}

// readSettings reads them where they are not in memory; the caller holds settingsMu.
func (b *backend) readSettings(ctx context.Context) (s settings, err error) {
	if s := b.settings.Load(); s != nil {
		return *s, nil
	}
	drops := b.drops.Load()
	raw, err := b.store.Get(ctx, settingsKey)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return s, err
	default:
		if s, err = parseSettings(raw); err != nil {
			return s, fault.Wrap(err, fault.Internal, "the mount's configuration is damaged")
		}
	}
	b.settings.Store(&s)
	if b.drops.Load() != drops { // they may have been read before the change
		b.settings.Store(nil)
	}
	b.keys.Limit(s.cacheSize)
	return s, nil
}

func (b *backend) changeSettings(ctx context.Context, change func(*settings) error) (settings, error) {
	b.settingsMu.Lock()
	defer b.settingsMu.Unlock()
	s, err := b.readSettings(ctx)
	if err != nil {
		return s, err
	}
	before := s
	if err := change(&s); err != nil {
		return s, err
	}
	if s == before {
		return s, nil
	}
	if err := b.store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(settingsKey, s.marshal())}}); err != nil {
		b.settings.Store(nil) // the outcome may be unknown
		return s, err
	}
	b.settings.Store(&s)
	b.keys.Limit(s.cacheSize)
	return s, nil
}

type cacheAnswer struct {
	Size int `json:"size"`
}

func readCache(b *backend, ctx context.Context, _ *call) (*mount.Response, error) {
	s, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: cacheAnswer{s.cacheSize}}, nil
}

func writeCache(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	n, err := c.data.number("size")
	if err != nil {
		return nil, err
	}
	if n < 0 || n > 0 && n < leastCache {
		return nil, fault.New(fault.Invalid, "size must be 0 or a value greater or equal to %d", leastCache)
	}
	s, err := b.changeSettings(ctx, func(s *settings) error {
		s.cacheSize = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: cacheAnswer{s.cacheSize}}, nil
}

type configAnswer struct {
	DisableUpsert bool  `json:"disable_upsert"`
	UseWindow     int64 `json:"version_use_window"` // seconds
}

func (s settings) answer() *mount.Response {
	return &mount.Response{Data: configAnswer{s.disableUpsert, int64(s.useWindow / time.Second)}}
}

// readConfig answers config/keys.
func readConfig(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	if c.segs[0] != "keys" {
		return nil, errNoPath
	}
	s, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	return s.answer(), nil
}

func writeConfig(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	if c.segs[0] != "keys" {
		return nil, errNoPath
	}
	s, err := b.changeSettings(ctx, func(s *settings) (err error) {
		if c.data.given("disable_upsert") {
			if s.disableUpsert, err = c.data.flag("disable_upsert"); err != nil {
				return err
			}
		}
		if c.data.given("version_use_window") {
			if s.useWindow, err = c.data.duration("version_use_window"); err != nil {
				return err
			}
			if s.useWindow < 0 {
				return fault.New(fault.Invalid, "version_use_window cannot be negative: 0 means that a version may go at any time")
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.answer(), nil
}
