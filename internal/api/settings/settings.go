// Package settings keeps what operators set by the API: CORS, quotas, and the versions that ran on
// a storage.
//
// It guarantees that a change is stored before it is in force, and that a node answers by the
// settings that its role has seen last: in a cluster a standby reads them again when the leader
// changes them.
//
// Stays compatible: the keys and JSON members of the stored documents; each carries its version.
package settings

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
)

// Keys of the documents behind the barrier.
const (
	PathCORS        = "core/config/cors"
	PathQuotas      = "core/quotas/rate-limit/" // + name
	PathQuotaConfig = "core/quotas/config"
	PathVersions    = "core/versions/" // + version
)

// Version is the version of the documents.
const Version = 1

// Settings are read when a node gets a role, and whenever they are changed; they are never changed
// in place.
type Settings struct {
	CORS        CORS
	Quotas      []limits.Quota // by name
	QuotaConfig limits.Settings

	of *node.RoleState
	as uint64 // the role's version of the settings
}

// current reports whether these are still in force.
func (s *Settings) current(role *node.RoleState) bool {
	return s != nil && s.of == role && s.as == role.SettingsVersion()
}

// Cache holds the settings in force. The zero value is ready. It is safe for concurrent use.
type Cache struct {
	mu  sync.Mutex // held by changes and while reading
	now atomic.Pointer[Settings]
}

// Get returns the settings in force.
func (c *Cache) Get(ctx context.Context, role *node.RoleState) (*Settings, error) {
	if s := c.now.Load(); s.current(role) {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.now.Load(); s.current(role) {
		return s, nil
	}
	return c.read(ctx, role)
}

// read reads all settings. The caller holds mu.
func (c *Cache) read(ctx context.Context, role *node.RoleState) (*Settings, error) {
	s := &Settings{of: role, as: role.SettingsVersion()}
	s.QuotaConfig = limits.Settings{Version: Version, Exempt: limits.DefaultExempt()}
	for path, into := range map[string]any{PathCORS: &s.CORS, PathQuotaConfig: &s.QuotaConfig} {
		if err := Read(ctx, role, path, into); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	names, err := role.Store().List(ctx, PathQuotas, "", 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var q limits.Quota
		if err := Read(ctx, role, PathQuotas+name, &q); err != nil {
			return nil, err
		}
		s.Quotas = append(s.Quotas, q)
	}
	c.now.Store(s)
	return s, nil
}

// Change stores one document, or removes it where v is nil, and reads all settings again.
func (c *Cache) Change(ctx context.Context, role *node.RoleState, path string, v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := storage.Delete(path)
	if v != nil {
		value, err := json.Marshal(v)
		if err != nil {
			return err
		}
		op = storage.Put(path, value)
	}
	err := role.Store().Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
	c.now.Store(nil) // also after an error: what is stored is in force
	if err != nil {
		return err
	}
	_, err = c.read(ctx, role)
	return err
}

// versioned is a document with its version.
type versioned interface{ FormatVersion() int }

// Read reads one document. The error is [storage.ErrNotFound] where it is absent.
func Read(ctx context.Context, role *node.RoleState, path string, into any) error {
	value, err := role.Store().Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fault.Wrap(err, fault.Internal, "the entry %s cannot be read; restore it from a backup", path)
	}
	if v, ok := into.(versioned); ok && v.FormatVersion() != Version {
		return fault.New(fault.Internal, "the entry %s has version %d, which this program does not know; "+
			"run the newer program",
			path, v.FormatVersion())
	}
	return nil
}

// CORS is the document of sys/config/cors.
type CORS struct {
	Version int      `json:"v"`
	Enabled bool     `json:"enabled"`
	Origins []string `json:"allowed_origins,omitempty"`
	Headers []string `json:"allowed_headers,omitempty"`
}

// FormatVersion returns the version of the stored document.
func (c *CORS) FormatVersion() int { return c.Version }

// Installed says when a version of the program first ran on this storage.
type Installed struct {
	Version int       `json:"v"`
	At      time.Time `json:"installed"`
}

// FormatVersion returns the version of the stored document.
func (v *Installed) FormatVersion() int { return v.Version }
