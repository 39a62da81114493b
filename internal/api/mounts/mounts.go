package mounts

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/mount"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// mountAnswer shows a mount. Members are in alphabetical order, as everywhere below "data".
type mountAnswer struct {
	Accessor              string            `json:"accessor"`
	Config                mountConfigAnswer `json:"config"`
	DeprecationStatus     string            `json:"deprecation_status"`
	Description           string            `json:"description"`
	ExternalEntropyAccess bool              `json:"external_entropy_access"`
	Local                 bool              `json:"local"`
	Options               map[string]string `json:"options"`
	Path                  string            `json:"path,omitempty"` // in sys/internal/ui/mounts/<path> only
	PluginVersion         string            `json:"plugin_version"`
	RunningPluginVersion  string            `json:"running_plugin_version"`
	RunningSHA256         string            `json:"running_sha256"`
	SealWrap              bool              `json:"seal_wrap"`
	Type                  string            `json:"type"`
	UUID                  string            `json:"uuid"`
}

type mountConfigAnswer struct {
	AllowedResponseHeaders    []string `json:"allowed_response_headers,omitempty"`
	AuditNonHMACRequestKeys   []string `json:"audit_non_hmac_request_keys,omitempty"`
	AuditNonHMACResponseKeys  []string `json:"audit_non_hmac_response_keys,omitempty"`
	DefaultLeaseTTL           int64    `json:"default_lease_ttl"`
	ForceNoCache              bool     `json:"force_no_cache"`
	AllowedManagedKeys        []string `json:"allowed_managed_keys,omitempty"`
	ListingVisibility         string   `json:"listing_visibility,omitempty"`
	MaxLeaseTTL               int64    `json:"max_lease_ttl"`
	PassthroughRequestHeaders []string `json:"passthrough_request_headers,omitempty"`
}

func describeConfig(c mount.Config) mountConfigAnswer {
	return mountConfigAnswer{
		AllowedResponseHeaders: c.AllowedResponseHeaders, AuditNonHMACRequestKeys: c.AuditNonHMACRequestKeys,
		AuditNonHMACResponseKeys: c.AuditNonHMACResponseKeys, DefaultLeaseTTL: c.DefaultLeaseTTL,
		ForceNoCache:       c.ForceNoCache,
		AllowedManagedKeys: c.AllowedManagedKeys,
		ListingVisibility:  c.ListingVisibility, MaxLeaseTTL: c.MaxLeaseTTL,
		PassthroughRequestHeaders: c.PassthroughRequestHeaders,
	}
}

func describeMount(h *api.Handler, m mount.Entry) mountAnswer {
	return mountAnswer{
		Accessor: m.Accessor, DeprecationStatus: "supported", Description: m.Description, Local: m.Local, Options: m.Options,
		Config:               describeConfig(m.Config),
		RunningPluginVersion: "v" + h.Version + "+builtin", SealWrap: m.SealWrap, Type: m.Type, UUID: m.UUID,
	}
}

func listMounts(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	all := map[string]mountAnswer{}
	for _, m := range q.Role.Mounts().List() {
		all[m.Path] = describeMount(h, m)
	}
	return api.Show(all)
}

// mountPath returns the mount in a request's path; tune reports "<mount>/tune", the settings of the
// mount.
func mountPath(q *api.Request) (path string, tune bool, err error) {
	rest, tune := strings.CutSuffix(q.Rest, "/tune")
	path, err = mount.CleanPath(rest)
	return path, tune, err
}

func showMount(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	if own, ok := isAuthTune(path, tune); ok {
		return authTuning(h, q, own)
	}
	if own, ok := strings.CutPrefix(path, api.AuthPath); ok { // Vault's library reads auth methods here
		if m, ok := q.Role.AuthMethods().Get(own); ok {
			return api.Show(describeAuth(h, m))
		}
	}
	m, ok := q.Role.Mounts().Get(path)
	switch {
	case !ok && tune:
		return nil, fault.New(fault.Invalid, "cannot fetch sysview for path %q", path)
	case !ok:
		return nil, fault.New(fault.Invalid, "No secret engine mount at %s", path)
	case tune:
		return api.Show(describeTuning(m))
	}
	return api.Show(describeMount(h, m))
}

func enableMount(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	if own, ok := isAuthTune(path, tune); ok {
		return tuneAuth(ctx, h, q, own, data)
	}
	if tune {
		return tuneMount(ctx, h, q, path, field.Map(data))
	}
	m, err := readMount(field.Map(data))
	if err != nil {
		return nil, err
	}
	m.Path = path
	if err := q.Role.Mounts().Mount(ctx, m); err != nil {
		return nil, err
	}
	return api.Done()
}

func readMount(f field.Map) (m mount.Entry, err error) {
	config, err := f.Object("config")
	if err != nil {
		return m, err
	}
	if m.Options, err = f.Texts("options"); err != nil {
		return m, err
	}
	var plugin string
	for _, err := range []error{
		f.Text("type", &m.Type), f.Text("plugin_name", &plugin), f.Text("description", &m.Description),
		f.Flag("local", &m.Local),
		f.Flag("seal_wrap", &m.SealWrap), mountConfig(config, &m.Config),
	} {
		if err != nil {
			return m, err
		}
	}
	if plugin != "" && (m.Type == "" || m.Type == "plugin") { // older clients name an engine like this
		m.Type = plugin
	}
	return m, nil
}

func disableMount(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	if tune {
		return nil, api.ErrUnsupported
	}
	if err := q.Role.Mounts().Unmount(ctx, path); err != nil {
		return nil, err
	}
	return api.Done()
}

// mountNames is what a client without access to a mount may see of it.
type mountNames struct {
	Description string            `json:"description"`
	Options     map[string]string `json:"options"`
	Type        string            `json:"type"`
}

// visibleMounts lists what the client may see. It answers without a token, too.
func visibleMounts(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var seen struct {
		Auth   map[string]any `json:"auth"`
		Secret map[string]any `json:"secret"`
	}
	seen.Auth, seen.Secret = map[string]any{}, map[string]any{}
	who, err := q.Bearer(ctx)
	if err != nil && !fault.Is(err, fault.Denied) {
		return nil, err
	}
	for _, m := range q.Role.Mounts().List() {
		switch ok, err := q.Role.Tokens().AllowsBelow(ctx, who, m.Path); {
		case err != nil:
			return nil, err
		case ok:
			seen.Secret[m.Path] = describeMount(h, m)
		case m.Config.ListingVisibility == mount.Unauth:
			seen.Secret[m.Path] = mountNames{m.Description, m.Options, m.Type}
		}
	}
	for _, m := range q.Role.AuthMethods().List() {
		switch ok, err := q.Role.Tokens().AllowsBelow(ctx, who, api.AuthPath+m.Path); {
		case err != nil:
			return nil, err
		case ok:
			seen.Auth[m.Path] = describeAuth(h, m)
		case m.Config.ListingVisibility == mount.Unauth:
			seen.Auth[m.Path] = mountNames{m.Description, m.Options, m.Type}
		}
	}
	return api.Show(seen)
}

// preflight returns the mount of a path and its version to a client's kv commands. A client without
// access gets the same answer as for a mount that does not exist.
func preflight(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, err := q.Bearer(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range q.Role.Mounts().List() {
		if !strings.HasPrefix(q.Rest+"/", m.Path) {
			continue
		}
		ok, err := q.Role.Tokens().AllowsBelow(ctx, who, m.Path)
		if err != nil {
			return nil, err
		}
		if ok {
			a := describeMount(h, m)
			a.Path = m.Path
			return api.Show(a)
		}
	}
	return nil, fault.New(fault.Denied, "preflight capability check returned 403, please ensure client's policies "+
		"grant access to path %q",
		strings.TrimSuffix(q.Rest, "/")+"/")
}
