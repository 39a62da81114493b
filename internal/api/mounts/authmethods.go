package mounts

import (
	"context"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// authRoutes are for the table of auth methods. Reading one of them takes sudo, as in Vault;
// listing all does not.
var authRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/auth", Capability: policy.Read, Style: api.DoubleStyle, Here: true,
		Handle: authMethods},
	{Methods: api.Get, Path: "sys/auth/*", Folder: true, Capability: policy.Read, Sudo: true,
		Style: api.DoubleStyle, Here: true,
		Handle: authMethod},
	{Methods: api.Write, Path: "sys/auth/*", Folder: true, Body: api.SmallBody, Capability: policy.Update | policy.Create,
		Sudo:  true,
		Style: api.DoubleStyle, Handle: enableAuth},
	{Methods: api.Remove, Path: "sys/auth/*", Folder: true, Capability: policy.Delete, Sudo: true, Style: api.DoubleStyle,
		Handle: disableAuth},
}

var authDocs = map[string]api.Doc{
	"sys/auth": {Text: "Lists the auth methods."},
	"sys/auth/*": {Text: "Enables, shows, tunes and disables an auth method.", Empty: true, Body: []api.DocField{
		{"type", "string", "approle, cert, jwt, kubernetes or userpass."}, {"description", "string", "What it is for."},
		{"config", "any", "Its settings."},
		{"options", "any", "Settings of the type."},
		{"local", "boolean", "Accepted from clients."}, {"seal_wrap", "boolean", "Accepted from clients."},
		{"external_entropy_access", "boolean", "Accepted from clients."}, {"plugin_name", "string", "An older name of type."},
		{"default_lease_ttl", "duration", "To tune: how long tokens live where their role says nothing."},
		{"max_lease_ttl", "duration", "To tune: how long they live at most."},
		{"token_type", "string", "To tune: the type of tokens."},
		{"listing_visibility", "string", "To tune: unauth shows the method to anybody."},
		{"user_lockout_config", "any", "To tune: limits on wrong credentials."},
	}},
}

// authMountAnswer shows an auth method: the members of a secrets engine, and the type of its
// tokens.
type authMountAnswer struct {
	mountAnswer
	Config authConfigAnswer `json:"config"`
}

type authConfigAnswer struct {
	mountConfigAnswer
	TokenType string         `json:"token_type"`
	Lockout   *lockoutAnswer `json:"user_lockout_config,omitempty"`
}

type lockoutAnswer struct {
	Threshold    int64 `json:"lockout_threshold"`
	Duration     int64 `json:"lockout_duration"`
	CounterReset int64 `json:"lockout_counter_reset"`
	Disable      bool  `json:"disable_lockout"`
}

func tokenTypeOf(c mount.Config) string {
	if c.TokenType == "" {
		return "default-service"
	}
	return c.TokenType
}

func describeLockout(l *mount.Lockout) *lockoutAnswer {
	if l == nil {
		return nil
	}
	return &lockoutAnswer{l.Threshold, l.Duration, l.CounterReset, l.Disable}
}

func describeAuth(h *api.Handler, m mount.Entry) authMountAnswer {
	return authMountAnswer{
		mountAnswer: describeMount(h, m),
		Config:      authConfigAnswer{describeConfig(m.Config), tokenTypeOf(m.Config), describeLockout(m.Config.Lockout)},
	}
}

func authMethods(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	all := map[string]authMountAnswer{}
	for _, m := range q.Role.AuthMethods().List() {
		all[m.Path] = describeAuth(h, m)
	}
	return api.Show(all)
}

func authMethod(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	if tune {
		return authTuning(h, q, path)
	}
	m, ok := q.Role.AuthMethods().Get(path)
	if !ok {
		return nil, fault.New(fault.Invalid, "No auth engine at %s", path)
	}
	return api.Show(describeAuth(h, m))
}

type authTuningAnswer struct {
	tuningAnswer
	TokenType string         `json:"token_type"`
	Lockout   *lockoutAnswer `json:"user_lockout_config,omitempty"`
}

// authTuning shows the settings of an auth method; path is without "auth/".
func authTuning(h *api.Handler, q *api.Request, path string) (*api.Answer, error) {
	m, ok := q.Role.AuthMethods().Get(path)
	if !ok {
		return nil, fault.New(fault.Invalid, "cannot fetch sysview for path %q", api.AuthPath+path)
	}
	return api.Show(authTuningAnswer{describeTuning(m), tokenTypeOf(m.Config), describeLockout(m.Config.Lockout)})
}

func enableAuth(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	if tune {
		return tuneAuth(ctx, h, q, path, data)
	}
	m, err := readMount(data)
	if err != nil {
		return nil, err
	}
	config, err := field.Map(data).Object("config")
	if err != nil {
		return nil, err
	}
	if err := authConfig(config, &m.Config); err != nil {
		return nil, err
	}
	m.Path = path
	if err := q.Role.AuthMethods().Mount(ctx, m); err != nil {
		return nil, err
	}
	return api.Done()
}

// tuneAuth changes the fields that are given; path is without "auth/".
func tuneAuth(ctx context.Context, h *api.Handler, q *api.Request, path string, f field.Map) (*api.Answer, error) {
	err := q.Role.AuthMethods().Tune(ctx, path, func(m *mount.Entry) error {
		if err := f.Text("description", &m.Description); err != nil {
			return err
		}
		if err := mountConfig(f, &m.Config); err != nil {
			return err
		}
		return authConfig(f, &m.Config)
	})
	if err != nil {
		return nil, err
	}
	return api.Done()
}

// authConfig reads the settings that only auth methods have.
func authConfig(f field.Map, c *mount.Config) error {
	if err := f.Text("token_type", &c.TokenType); err != nil {
		return err
	}
	o, err := f.Object("user_lockout_config")
	if err != nil {
		return err
	}
	if o != nil {
		l := mount.Lockout{}
		if c.Lockout != nil {
			l = *c.Lockout
		}
		for _, err := range []error{
			o.Number("lockout_threshold", &l.Threshold), lease(o, "lockout_duration", &l.Duration),
			lease(o, "lockout_counter_reset", &l.CounterReset), o.Flag("lockout_disable", &l.Disable),
			o.Flag("disable_lockout", &l.Disable),
		} {
			if err != nil {
				return err
			}
		}
		c.Lockout = &l
	}
	return c.Check()
}

// disableAuth removes a method, and revokes the tokens that it issued. A node that becomes active
// revokes what a crash in between has left.
func disableAuth(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	path, tune, err := mountPath(q)
	if err != nil {
		return nil, err
	}
	if tune {
		return nil, api.ErrUnsupported
	}
	if err := q.Role.AuthMethods().Unmount(ctx, path); err != nil {
		return nil, err
	}
	if err := q.Role.Tokens().RevokePath(ctx, api.AuthPath+path, time.Time{}); err != nil {
		return nil, err
	}
	return api.Done()
}

// isAuthTune returns the auth method that a path below sys/mounts/ is about: older clients tune
// them there.
func isAuthTune(path string, tune bool) (string, bool) {
	own, ok := strings.CutPrefix(path, api.AuthPath)
	return own, ok && tune && own != ""
}
