package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

const settingsKey = "config"

// settings are a mount's defaults for its secrets. Stored as
//
//	version u8 = 1 | flags u8, as of a [secret] | max versions u32 | delete after i64
type settings struct {
	casRequired, metaCASRequired bool
	maxVersions                  uint32
	deleteAfter                  int64 // nanoseconds; 0: never; negative: never, and secrets cannot override it
}

const (
	settingsVersion    = 1
	settingsSize       = 1 + 1 + 4 + 8
	defaultMaxVersions = 10
)

func (c settings) marshal() []byte {
	b := make([]byte, 0, settingsSize)
	b = append(b, settingsVersion, flagsOf(c.casRequired, c.metaCASRequired))
	b = binary.BigEndian.AppendUint32(b, c.maxVersions)
	return binary.BigEndian.AppendUint64(b, uint64(c.deleteAfter))
}

func flagsOf(cas, metaCAS bool) (f byte) {
	if cas {
		f |= flagCAS
	}
	if metaCAS {
		f |= flagMetaCAS
	}
	return f
}

func parseSettings(b []byte) (settings, error) {
	if len(b) != settingsSize || b[0] != settingsVersion || b[1]&^flagsKnown != 0 {
		return settings{}, fmt.Errorf("%w: a mount's settings must be version %d", errRecord, settingsVersion)
	}
	return settings{
		casRequired: b[1]&flagCAS != 0, metaCASRequired: b[1]&flagMetaCAS != 0,
		maxVersions: binary.BigEndian.Uint32(b[2:]), deleteAfter: int64(binary.BigEndian.Uint64(b[6:])),
	}, nil
}

// settings reads the mount's settings. Reading them for each write costs little beside the write,
// and is right whichever node changed them.
func (d *versioned) settings(ctx context.Context) (settings, error) {
	b, err := d.store.Get(ctx, settingsKey)
	if errors.Is(err, storage.ErrNotFound) {
		return settings{}, nil
	}
	if err != nil {
		return settings{}, err
	}
	c, err := parseSettings(b)
	if err != nil {
		return c, fault.Wrap(err, fault.Internal, "the mount's configuration is damaged: overwrite it at its config path")
	}
	return c, nil
}

// keep returns how many versions of a secret are kept: its own setting, else the mount's, else 10.
func (c settings) keep(own uint32) int {
	switch {
	case own > 0:
		return int(own)
	case c.maxVersions > 0:
		return int(c.maxVersions)
	}
	return defaultMaxVersions
}

// deletion returns when a version created now is deleted, by the shorter setting of secret and
// mount; 0 means never.
func (c settings) deletion(now, own int64) int64 {
	after := own
	if c.deleteAfter < 0 {
		return 0
	}
	if own == 0 || c.deleteAfter > 0 && c.deleteAfter < own {
		after = c.deleteAfter
	}
	if after == 0 || now > now+after { // overflow means never
		return 0
	}
	return now + after
}

// checkMost bounds max_versions.
func checkMost(n int64) error {
	if n < 0 || n > maxVersionsCap {
		return fault.New(fault.Invalid, "max_versions is %d; it must be 0, for the default, to %d", n, maxVersionsCap)
	}
	return nil
}

type settingsAnswer struct {
	CASRequired         bool   `json:"cas_required"`
	DeleteVersionAfter  string `json:"delete_version_after"`
	MaxVersions         uint32 `json:"max_versions"`
	MetadataCASRequired bool   `json:"metadata_cas_required"`
}

func (d *versioned) configure(ctx context.Context, op mount.Operation, r *mount.Request) (*mount.Response, error) {
	switch op {
	case mount.Read:
		c, err := d.settings(ctx)
		if err != nil {
			return nil, err
		}
		return &mount.Response{Data: settingsAnswer{c.casRequired, time.Duration(c.deleteAfter).String(), c.maxVersions,
			c.metaCASRequired}}, nil
	case mount.Update:
		return nil, d.writeSettings(ctx, r)
	}
	return nil, fault.New(fault.Unsupported, "unsupported operation")
}

func (d *versioned) writeSettings(ctx context.Context, r *mount.Request) error {
	g, err := readGiven(r)
	if err != nil {
		return err
	}
	defer d.lock(settingsKey)()
	c, err := d.settings(ctx)
	if err != nil && !errors.Is(err, errRecord) { // a damaged record is overwritten
		return err
	}
	g.flags(&c.casRequired, &c.metaCASRequired)
	if g.most != nil {
		c.maxVersions = uint32(*g.most)
	}
	if g.after != nil {
		c.deleteAfter = int64(*g.after)
	}
	return d.store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(settingsKey, c.marshal())}})
}

// given holds the fields that settings and metadata share; nil means not given.
type given struct {
	cas, metaCAS *bool
	most         *int64
	after        *time.Duration
}

func readGiven(r *mount.Request) (g given, err error) {
	f := field.Map(r.Data)
	if g.cas, err = optional(f, "cas_required", field.Map.Flag); err != nil {
		return g, err
	}
	if g.metaCAS, err = optional(f, "metadata_cas_required", field.Map.Flag); err != nil {
		return g, err
	}
	if g.most, err = optional(f, "max_versions", field.Map.Number); err != nil {
		return g, err
	}
	if g.most != nil {
		if err := checkMost(*g.most); err != nil {
			return g, err
		}
	}
	g.after, err = optional(f, "delete_version_after", field.Map.Duration)
	return g, err
}

func (g given) flags(cas, metaCAS *bool) {
	if g.cas != nil {
		*cas = *g.cas
	}
	if g.metaCAS != nil {
		*metaCAS = *g.metaCAS
	}
}

func (g given) none() bool {
	return g.cas == nil && g.metaCAS == nil && g.most == nil && g.after == nil
}
