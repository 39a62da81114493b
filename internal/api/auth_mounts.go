package api

import (
	"context"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const authPath = "auth/"

// authRoutes are the table of auth methods. To look at one of them takes sudo, as in Vault; the whole list does not.
var authRoutes = []route{
	{Methods: get, Path: "sys/auth", Capability: policy.Read, Style: doubleStyle, Here: true,
		Handle: (*handler).authMethods},
	{Methods: get, Path: "sys/auth/*", Capability: policy.Read, Sudo: true, Style: doubleStyle, Here: true,
		Handle: (*handler).authMethod},
	{Methods: write, Path: "sys/auth/*", Body: smallBody, Capability: policy.Update | policy.Create, Sudo: true,
		Style: doubleStyle, Handle: (*handler).enableAuth},
	{Methods: remove, Path: "sys/auth/*", Capability: policy.Delete, Sudo: true, Style: doubleStyle,
		Handle: (*handler).disableAuth},
}

var authDocs = map[string]doc{
	"sys/auth": {Text: "Lists the auth methods."},
	"sys/auth/*": {Text: "Enables, shows, tunes and disables an auth method.", Empty: true, Body: []docField{
		{"type", "string", "approle, cert, jwt or userpass."}, {"description", "string", "What it is for."}, {"config", "any", "Its settings."},
		{"options", "any", "Settings of the type."},
		{"local", "boolean", "Accepted from clients."}, {"seal_wrap", "boolean", "Accepted from clients."},
		{"external_entropy_access", "boolean", "Accepted from clients."}, {"plugin_name", "string", "An older name of type."},
		{"default_lease_ttl", "duration", "To tune: how long tokens live where their role says nothing."},
		{"max_lease_ttl", "duration", "To tune: how long they live at most."}, {"token_type", "string", "To tune: the type of tokens."},
		{"listing_visibility", "string", "To tune: unauth shows the method to anybody."},
		{"user_lockout_config", "any", "To tune: when guessing is stopped."},
	}},
}

// authAnswer of a mount is the same as that of a secrets engine, with the type of its tokens.
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

func (h *handler) describeAuth(m mount.Entry) authMountAnswer {
	return authMountAnswer{
		mountAnswer: h.describeMount(m),
		Config:      authConfigAnswer{describeConfig(m.Config), tokenTypeOf(m.Config), describeLockout(m.Config.Lockout)},
	}
}

func (h *handler) authMethods(_ context.Context, q *request) (*answer, error) {
	all := map[string]authMountAnswer{}
	for _, m := range q.state.AuthMethods().List() {
		all[m.Path] = h.describeAuth(m)
	}
	return shown(all)
}

func (h *handler) authMethod(_ context.Context, q *request) (*answer, error) {
	path, tune, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	if tune {
		return h.authTuning(q, path)
	}
	m, ok := q.state.AuthMethods().Get(path)
	if !ok {
		return nil, fault.New(fault.Invalid, "No auth engine at %s", path)
	}
	return shown(h.describeAuth(m))
}

type authTuningAnswer struct {
	tuningAnswer
	TokenType string         `json:"token_type"`
	Lockout   *lockoutAnswer `json:"user_lockout_config,omitempty"`
}

// authTuning tells how an auth method is set; the path is without "auth/".
func (h *handler) authTuning(q *request, path string) (*answer, error) {
	m, ok := q.state.AuthMethods().Get(path)
	if !ok {
		return nil, fault.New(fault.Invalid, "cannot fetch sysview for path %q", authPath+path)
	}
	return shown(authTuningAnswer{describeTuning(m), tokenTypeOf(m.Config), describeLockout(m.Config.Lockout)})
}

func (h *handler) enableAuth(ctx context.Context, q *request) (*answer, error) {
	path, tune, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	if tune {
		return h.tuneAuth(ctx, q, path, data)
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
	if err := q.state.AuthMethods().Mount(ctx, m); err != nil {
		return nil, err
	}
	return done()
}

// tuneAuth changes what is given and leaves the rest; the path is without "auth/".
func (h *handler) tuneAuth(ctx context.Context, q *request, path string, f field.Map) (*answer, error) {
	err := q.state.AuthMethods().Tune(ctx, path, func(m *mount.Entry) error {
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
	return done()
}

// authConfig reads the settings that auth methods alone have.
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
			lease(o, "lockout_counter_reset", &l.CounterReset), o.Flag("lockout_disable", &l.Disable), o.Flag("disable_lockout", &l.Disable),
		} {
			if err != nil {
				return err
			}
		}
		c.Lockout = &l
	}
	return c.Check()
}

// disableAuth takes a method away, and ends the tokens that it gave out. What a crash in between leaves is ended when a node becomes
// active.
func (h *handler) disableAuth(ctx context.Context, q *request) (*answer, error) {
	path, tune, err := q.mountPath()
	if err != nil {
		return nil, err
	}
	if tune {
		return nil, errUnsupported
	}
	if err := q.state.AuthMethods().Unmount(ctx, path); err != nil {
		return nil, err
	}
	if err := q.state.Tokens().RevokePath(ctx, authPath+path, time.Time{}); err != nil {
		return nil, err
	}
	return done()
}

// isAuthTune reports whether a path below sys/mounts/ is about an auth method, as older clients tune them, and gives its own path.
func isAuthTune(path string, tune bool) (string, bool) {
	own, ok := strings.CutPrefix(path, authPath)
	return own, ok && tune && own != ""
}
