package api

import (
	"context"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/fault"
)

// mountAnswer is one entry of the table of mounts as clients know it. Members are in alphabetical order, as everywhere below "data".
type mountAnswer struct {
	Accessor              string            `json:"accessor"`
	Config                mountConfigAnswer `json:"config"`
	DeprecationStatus     string            `json:"deprecation_status"`
	Description           string            `json:"description"`
	ExternalEntropyAccess bool              `json:"external_entropy_access"`
	Local                 bool              `json:"local"`
	Options               map[string]string `json:"options"`
	Path                  string            `json:"path,omitempty"` // for sys/internal/ui/mounts/<path> only
	PluginVersion         string            `json:"plugin_version"`
	RunningPluginVersion  string            `json:"running_plugin_version"`
	RunningSHA256         string            `json:"running_sha256"`
	SealWrap              bool              `json:"seal_wrap"`
	Type                  string            `json:"type"`
	UUID                  string            `json:"uuid"`
}

type mountConfigAnswer struct {
	DefaultLeaseTTL int64 `json:"default_lease_ttl"`
	ForceNoCache    bool  `json:"force_no_cache"`
	MaxLeaseTTL     int64 `json:"max_lease_ttl"`
}

func (h *handler) describeMount(m doors.Mount) mountAnswer {
	return mountAnswer{
		Accessor: m.Accessor, DeprecationStatus: "supported", Description: m.Description, Local: m.Local, Options: m.Options,
		Config:               mountConfigAnswer{m.Config.DefaultLeaseTTL, m.Config.ForceNoCache, m.Config.MaxLeaseTTL},
		RunningPluginVersion: "v" + h.Version + "+builtin", SealWrap: m.SealWrap, Type: m.Type, UUID: m.UUID,
	}
}

func (h *handler) mounts(_ context.Context, q *request) (*answer, error) {
	all := map[string]mountAnswer{}
	for _, m := range q.active.Mounts().List() {
		all[m.Path] = h.describeMount(m)
	}
	return shown(all)
}

// mountPath is the path of a mount in a request. "<mount>/tune" is a path of its own, which is not there yet.
func (q *request) mountPath() (string, error) {
	if strings.HasSuffix(q.rest, "/tune") {
		return "", errNoPath
	}
	return doors.CleanPath(q.rest)
}

func (h *handler) mount(_ context.Context, q *request) (*answer, error) {
	path, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	m, ok := q.active.Mounts().Get(path)
	if !ok {
		return nil, fault.New(fault.Invalid, "No secret engine mount at %s", path)
	}
	return shown(h.describeMount(m))
}

func (h *handler) enableMount(ctx context.Context, q *request) (*answer, error) {
	path, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	m, err := readMount(fields(data))
	if err != nil {
		return nil, err
	}
	m.Path = path
	if err := q.active.Mounts().Mount(ctx, m); err != nil {
		return nil, err
	}
	return done()
}

func readMount(f fields) (m doors.Mount, err error) {
	config, err := f.object("config")
	if err != nil {
		return m, err
	}
	if m.Options, err = f.texts("options"); err != nil {
		return m, err
	}
	var defaultTTL, maxTTL time.Duration
	for _, err := range []error{
		f.text("type", &m.Type), f.text("description", &m.Description), f.flag("local", &m.Local), f.flag("seal_wrap", &m.SealWrap),
		config.duration("default_lease_ttl", &defaultTTL), config.duration("max_lease_ttl", &maxTTL),
		config.flag("force_no_cache", &m.Config.ForceNoCache),
	} {
		if err != nil {
			return m, err
		}
	}
	if defaultTTL < 0 || maxTTL < 0 || maxTTL > 0 && defaultTTL > maxTTL {
		return m, fault.New(fault.Invalid, "default_lease_ttl and max_lease_ttl must not be negative, and the default not beyond the maximum")
	}
	m.Config.DefaultLeaseTTL, m.Config.MaxLeaseTTL = int64(defaultTTL/time.Second), int64(maxTTL/time.Second)
	return m, nil
}

func (h *handler) disableMount(ctx context.Context, q *request) (*answer, error) {
	path, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	if err := q.active.Mounts().Unmount(ctx, path); err != nil {
		return nil, err
	}
	return done()
}

// visibleMounts lists what the token, if there is one, may see. It refuses nobody.
func (h *handler) visibleMounts(ctx context.Context, q *request) (*answer, error) {
	q.readToken()
	var seen struct {
		Auth   map[string]mountAnswer `json:"auth"`
		Secret map[string]mountAnswer `json:"secret"`
	}
	seen.Auth, seen.Secret = map[string]mountAnswer{}, map[string]mountAnswer{}
	for _, m := range q.active.Mounts().List() {
		_, err := q.active.Tokens().Authorize(ctx, q.token, auth.Need{Path: m.Path, Capability: auth.Read})
		switch {
		case err == nil:
			seen.Secret[m.Path] = h.describeMount(m)
		case !fault.Is(err, fault.Denied):
			return nil, err
		}
	}
	return shown(seen)
}

// preflight tells a client's kv commands which mount a path is in and of which version. Whoever may see nothing there is told
// the same as for a mount that does not exist.
func (h *handler) preflight(ctx context.Context, q *request) (*answer, error) {
	q.readToken()
	if _, err := q.active.Tokens().Identify(ctx, q.token); err != nil {
		return nil, err
	}
	for _, m := range q.active.Mounts().List() {
		if !strings.HasPrefix(q.rest+"/", m.Path) {
			continue
		}
		_, err := q.active.Tokens().Authorize(ctx, q.token, auth.Need{Path: m.Path, Capability: auth.Read})
		if err == nil {
			a := h.describeMount(m)
			a.Path = m.Path
			return shown(a)
		}
		if !fault.Is(err, fault.Denied) {
			return nil, err
		}
	}
	return nil, fault.New(fault.Denied, "preflight capability check returned 403, please ensure client's policies grant access to path %q",
		strings.TrimSuffix(q.rest, "/")+"/")
}
