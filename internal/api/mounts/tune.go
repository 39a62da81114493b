package mounts

import (
	"context"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// tuningAnswer shows the settings of a mount, with the lease times in effect.
type tuningAnswer struct {
	AllowedResponseHeaders    []string          `json:"allowed_response_headers,omitempty"`
	AuditNonHMACRequestKeys   []string          `json:"audit_non_hmac_request_keys,omitempty"`
	AuditNonHMACResponseKeys  []string          `json:"audit_non_hmac_response_keys,omitempty"`
	DefaultLeaseTTL           int64             `json:"default_lease_ttl"`
	Description               string            `json:"description"`
	ForceNoCache              bool              `json:"force_no_cache"`
	AllowedManagedKeys        []string          `json:"allowed_managed_keys,omitempty"`
	ListingVisibility         string            `json:"listing_visibility,omitempty"`
	MaxLeaseTTL               int64             `json:"max_lease_ttl"`
	Options                   map[string]string `json:"options,omitempty"`
	PassthroughRequestHeaders []string          `json:"passthrough_request_headers,omitempty"`
}

func describeTuning(m mount.Entry) tuningAnswer {
	c := m.Config
	a := tuningAnswer{
		AllowedResponseHeaders: c.AllowedResponseHeaders, AuditNonHMACRequestKeys: c.AuditNonHMACRequestKeys,
		AuditNonHMACResponseKeys: c.AuditNonHMACResponseKeys, Description: m.Description, ForceNoCache: c.ForceNoCache,
		AllowedManagedKeys: c.AllowedManagedKeys,
		ListingVisibility:  c.ListingVisibility, Options: m.Options, PassthroughRequestHeaders: c.PassthroughRequestHeaders,
	}
	a.DefaultLeaseTTL, a.MaxLeaseTTL = c.Effective()
	return a
}

// tuneMount changes the fields that are given. Options are changed one by one; an empty value
// removes one.
func tuneMount(ctx context.Context, h *api.Handler, q *api.Request, path string, f field.Map) (*api.Answer, error) {
	options, err := f.Texts("options")
	if err != nil {
		return nil, err
	}
	upgraded := false
	err = q.Role.Mounts().Tune(ctx, path, func(m *mount.Entry) error {
		upgraded = options["version"] == "2" && m.Options["version"] != "2"
		if err := f.Text("description", &m.Description); err != nil {
			return err
		}
		for name, v := range options {
			if m.Options == nil {
				m.Options = map[string]string{}
			}
			if m.Options[name] = v; v == "" {
				delete(m.Options, name)
			}
		}
		return mountConfig(f, &m.Config)
	})
	switch {
	case err != nil:
		return nil, err
	case upgraded: // clients of Vault expect an answer that says so
		return &api.Answer{Warnings: []string{"Upgrading mount from version 1 to version 2. " +
			"The paths of its secrets are below data/ and metadata/ from now on."}}, nil
	}
	return api.Done()
}

// mountConfig reads the settings of a mount; those that are not given stay as they are.
func mountConfig(f field.Map, c *mount.Config) error {
	for _, err := range []error{
		lease(f, "default_lease_ttl", &c.DefaultLeaseTTL), lease(f, "max_lease_ttl", &c.MaxLeaseTTL),
		f.Flag("force_no_cache", &c.ForceNoCache), f.Text("listing_visibility", &c.ListingVisibility),
		f.Names("allowed_managed_keys", &c.AllowedManagedKeys),
		f.Names("audit_non_hmac_request_keys", &c.AuditNonHMACRequestKeys), f.Names("audit_non_hmac_response_keys",
			&c.AuditNonHMACResponseKeys),
		f.Names("passthrough_request_headers", &c.PassthroughRequestHeaders), f.Names("allowed_response_headers",
			&c.AllowedResponseHeaders),
	} {
		if err != nil {
			return err
		}
	}
	return c.Check()
}

// lease reads a lease time in seconds: "" is not given, "system" is the system's.
func lease(f field.Map, name string, into *int64) error {
	switch f[name] {
	case "":
		return nil
	case "system":
		*into = 0
		return nil
	}
	d := time.Duration(*into) * time.Second
	if err := f.Duration(name, &d); err != nil {
		return err
	}
	*into = int64(d / time.Second)
	return nil
}

type moveAnswer struct {
	MigrationID string `json:"migration_id"`
}

type moveStatusAnswer struct {
	MigrationID   string         `json:"migration_id"`
	MigrationInfo moveInfoAnswer `json:"migration_info"`
}

type moveInfoAnswer struct {
	SourceMount string `json:"source_mount"`
	Status      string `json:"status"`
	TargetMount string `json:"target_mount"`
}

// remount moves a mount. In Vault that takes time, and clients poll for its end; here the move is
// complete when it is answered.
func remount(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var from, to string
	f := field.Map(data)
	if err := f.Text("from", &from); err != nil {
		return nil, err
	}
	if err := f.Text("to", &to); err != nil {
		return nil, err
	}
	for name, path := range map[string]string{"from": from, "to": to} {
		if strings.Trim(path, "/") == "" {
			return nil,
				fault.New(fault.Invalid, "the path %q is missing: give from, where the mount is, and to, where it is to be", name)
		}
	}
	m, err := move(ctx, q, strings.TrimPrefix(from, "/"), strings.TrimPrefix(to, "/"))
	if err != nil {
		return nil, err
	}
	return &api.Answer{Data: moveAnswer{m.ID}, Warnings: []string{
		"The mount was moved. Policies and clients that name " + m.From + " must name " + m.To + " from now on.",
	}}, nil
}

// move moves a secrets engine or an auth method. Tokens that the method issued are revoked, because
// they are found by its path.
func move(ctx context.Context, q *api.Request, from, to string) (mount.Move, error) {
	fromLogin, isLogin := strings.CutPrefix(from, api.AuthPath)
	toLogin, staysLogin := strings.CutPrefix(to, api.AuthPath)
	if isLogin != staysLogin {
		return mount.Move{},
			fault.New(fault.Invalid, "cannot remount %q to %q: an auth method stays below auth/, and a secrets engine outside",
				from, to)
	}
	if !isLogin {
		return q.Role.Mounts().Remount(ctx, from, to)
	}
	m, err := q.Role.AuthMethods().Remount(ctx, fromLogin, toLogin)
	if err != nil {
		return m, err
	}
	m.From, m.To = api.AuthPath+m.From, api.AuthPath+m.To
	if err := q.Role.Tokens().RevokePath(ctx, m.From, time.Time{}); err != nil {
		return m, fault.Wrap(err, fault.Internal, "the method was moved, but not all of its tokens are revoked: revoke "+
			"the prefix %q", m.From)
	}
	return m, nil
}

func remountStatus(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	m, ok := q.Role.Mounts().Moved(q.Rest)
	if !ok {
		if m, ok = q.Role.AuthMethods().Moved(q.Rest); ok {
			m.From, m.To = api.AuthPath+m.From, api.AuthPath+m.To
		}
	}
	if !ok {
		return api.Done()
	}
	return api.Show(moveStatusAnswer{m.ID, moveInfoAnswer{m.From, "success", m.To}})
}
