package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
)

// Where settings of the API stand behind the barrier: JSON documents, each with its version.
const (
	pathCORS     = "core/config/cors"
	pathQuotas   = "core/quotas/rate-limit/" // + name
	pathQuotaAll = "core/quotas/config"
	pathVersions = "core/versions/" // + version
)

// settingsVersion is that of the documents.
const settingsVersion = 1

// settings are read once when the node has become active, and whenever they are changed; they never change themselves.
type settings struct {
	of     *node.RoleState
	as     uint64 // of its versions of the settings
	cors   corsRecord
	quotas []quotaRecord // by name
	limits quotaConfig
}

// fresh reports whether these are still in force.
func (s *settings) fresh(a *node.RoleState) bool {
	return s != nil && s.of == a && s.as == a.SettingsVersion()
}

// settingsCache holds the settings in force.
type settingsCache struct {
	mu  sync.Mutex // held by changes and while reading
	now atomic.Pointer[settings]
}

// get returns the settings of an active node.
func (c *settingsCache) get(ctx context.Context, a *node.RoleState) (*settings, error) {
	if s := c.now.Load(); s.fresh(a) {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.now.Load(); s.fresh(a) {
		return s, nil
	}
	return c.read(ctx, a)
}

// read reads them all. The caller holds mu.
func (c *settingsCache) read(ctx context.Context, a *node.RoleState) (*settings, error) {
	s := &settings{of: a, as: a.SettingsVersion(), limits: defaultQuotaConfig()}
	for path, into := range map[string]any{pathCORS: &s.cors, pathQuotaAll: &s.limits} {
		if err := readSetting(ctx, a, path, into); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	names, err := a.Store().List(ctx, pathQuotas, "", 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var q quotaRecord
		if err := readSetting(ctx, a, pathQuotas+name, &q); err != nil {
			return nil, err
		}
		s.quotas = append(s.quotas, q)
	}
	c.now.Store(s)
	return s, nil
}

// change writes one setting, or removes it where v is nil, and reads them all again.
func (c *settingsCache) change(ctx context.Context, a *node.RoleState, path string, v any) error {
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
	err := a.Store().Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
	c.now.Store(nil) // whatever came of it: what is in force is what is stored
	if err != nil {
		return err
	}
	_, err = c.read(ctx, a)
	return err
}

// versioned is a document with its version.
type versioned interface{ version() int }

func readSetting(ctx context.Context, a *node.RoleState, path string, into any) error {
	value, err := a.Store().Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fault.Wrap(err, fault.Internal, "the entry %s cannot be read; restore it from a backup", path)
	}
	if v, ok := into.(versioned); ok && v.version() != settingsVersion {
		return fault.New(fault.Internal, "the entry %s is of version %d, which this program does not know; run the newer one", path, v.version())
	}
	return nil
}

// corsRecord is what sys/config/cors keeps.
type corsRecord struct {
	Version int      `json:"v"`
	Enabled bool     `json:"enabled"`
	Origins []string `json:"allowed_origins,omitempty"`
	Headers []string `json:"allowed_headers,omitempty"`
}

func (c *corsRecord) version() int { return c.Version }

// versionRecord says when a version of the program first ran on this storage.
type versionRecord struct {
	Version   int       `json:"v"`
	Installed time.Time `json:"installed"`
}

func (v *versionRecord) version() int { return v.Version }

type corsAnswer struct {
	Enabled bool     `json:"enabled"`
	Origins []string `json:"allowed_origins,omitempty"`
	Headers []string `json:"allowed_headers,omitempty"`
}

// corsHeaders are those that clients of the API send; a page may send them.
var corsHeaders = []string{
	"Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format",
	"X-Vault-Wrap-TTL", "X-Vault-Policy-Override", "Authorization", "X-Vault-Token", "X-Vault-Namespace", "X-Vault-Request",
}

func (h *handler) readCORS(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Shared.settings.get(ctx, q.state)
	if err != nil {
		return nil, err
	}
	a := corsAnswer{Enabled: s.cors.Enabled}
	if s.cors.Enabled {
		a.Origins, a.Headers = s.cors.Origins, append(append([]string{}, corsHeaders...), s.cors.Headers...)
	}
	return shown(a)
}

func (h *handler) writeCORS(ctx context.Context, q *request) (*answer, error) {
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	c, f := corsRecord{Version: settingsVersion, Enabled: true}, fields(data)
	for _, err := range []error{f.words("allowed_origins", &c.Origins), f.words("allowed_headers", &c.Headers), f.flag("enabled", &c.Enabled)} {
		if err != nil {
			return nil, err
		}
	}
	if len(c.Origins) == 0 {
		return nil, fault.New(fault.Invalid, "at least one origin or the wildcard must be provided")
	}
	for _, o := range c.Origins {
		if o == "*" && len(c.Origins) > 1 {
			return nil, fault.New(fault.Invalid, "to allow all origins the '*' must be the only value for allowed_origins")
		}
	}
	if err := h.Shared.settings.change(ctx, q.state, pathCORS, c); err != nil {
		return nil, err
	}
	return done()
}

func (h *handler) deleteCORS(ctx context.Context, q *request) (*answer, error) {
	if err := h.Shared.settings.change(ctx, q.state, pathCORS, nil); err != nil {
		return nil, err
	}
	return done()
}

// crossOrigin answers what a browser asks before a page's request, and lets a page's request through where its origin may.
// Without CORS an Origin means nothing: command lines and proxies send one as well.
func (h *handler) crossOrigin(q *request) (*answer, error) {
	c := h.Front.CORS
	if !c.Enabled && h.Node != nil {
		if active, err := h.Node.Role(); err == nil {
			if s, err := h.Shared.settings.get(q.http.Context(), active); err == nil {
				c.Enabled, c.Origins, c.Headers = s.cors.Enabled, s.cors.Origins, s.cors.Headers
			}
		}
	}
	if !c.Enabled {
		return nil, nil
	}
	origin, header := q.http.Header.Get("Origin"), q.out.Header()
	header.Add("Vary", "Origin")
	allowed := false
	for _, o := range c.Origins {
		allowed = allowed || o == "*" || o == origin
	}
	if !allowed {
		return nil, errOrigin
	}
	header.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	if q.http.Method != http.MethodOptions {
		return nil, nil
	}
	header.Set("Access-Control-Allow-Methods", "DELETE, GET, OPTIONS, POST, PUT, LIST, PATCH, SCAN")
	header.Set("Access-Control-Allow-Headers", joined(append(append([]string{}, corsHeaders...), c.Headers...)))
	header.Set("Access-Control-Max-Age", "300")
	return &answer{status: http.StatusNoContent}, nil
}
