package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// mountFlags are the settings of secrets engines and auth methods.
type mountFlags struct {
	lease, most                        mountTTL
	requestKeys, responseKeys          list
	passthrough, allowed               list
	visibility, description, tokenType string
	pluginVersion                      string
	version                            int
	options                            pairsFlag
}

// mountTTL is a TTL as the API takes it: "" changes nothing, "system" is the server's default.
type mountTTL string

func (m *mountTTL) String() string { return string(*m) }

func (m *mountTTL) Set(v string) error {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		v = strconv.FormatInt(n, 10) + "s"
	}
	d, err := time.ParseDuration(v)
	switch {
	case v == "system" || err == nil && d < 0:
		*m = "system"
	case err != nil:
		return errors.New(`the form is "60", "5m" or "system"`)
	case d == 0:
		*m = ""
	default:
		*m = mountTTL(d.String())
	}
	return nil
}

func (m *mountFlags) define(b *base) {
	m.options = pairsFlag{}
	f := b.flags
	f.Var(&m.lease, "default-lease-ttl", "default `TTL` of leases; system for the server's default")
	f.Var(&m.most, "max-lease-ttl", "longest `TTL` of leases; system for the server's default")
	f.Var(&m.requestKeys, "audit-non-hmac-request-keys", "request `key` that audit devices do not hash; may be repeated")
	f.Var(&m.responseKeys, "audit-non-hmac-response-keys", "response `key` that audit devices do not hash; may be "+
		"repeated")
	f.Var(&m.passthrough, "passthrough-request-headers", "request `header` to pass on; may be repeated")
	f.Var(&m.allowed, "allowed-response-headers", "`header` that responses may set; may be repeated")
	f.StringVar(&m.visibility, "listing-visibility", "", "`visibility` in listings without a token: unauth, hidden")
	f.StringVar(&m.description, "description", "", "`text` that describes it")
	f.StringVar(&m.pluginVersion, "plugin-version", "", "`version` of the plugin")
	f.IntVar(&m.version, "version", 0, "`number` of the engine's version, such as 1 or 2 of kv")
	f.Var(m.options, "options", "option `k=v`; may be repeated")
	b.own("default-lease-ttl", "max-lease-ttl", "audit-non-hmac-request-keys", "audit-non-hmac-response-keys",
		"passthrough-request-headers",
		"allowed-response-headers", "listing-visibility", "description", "plugin-version", "version", "options")
}

// forAuth adds the settings of auth methods alone.
func (m *mountFlags) forAuth(b *base) {
	b.flags.StringVar(&m.tokenType, "token-type", "", "`type` of the tokens: default-service, default-batch, "+
		"service, batch")
	b.own("token-type")
}

// input holds the settings of the flags that were given.
func (m *mountFlags) input() api.MountConfigInput {
	if m.version > 0 {
		m.options["version"] = strconv.Itoa(m.version)
	}
	return api.MountConfigInput{
		DefaultLeaseTTL: string(m.lease), MaxLeaseTTL: string(m.most), ListingVisibility: m.visibility,
		AuditNonHMACRequestKeys: m.requestKeys, AuditNonHMACResponseKeys: m.responseKeys,
		PassthroughRequestHeaders: m.passthrough, AllowedResponseHeaders: m.allowed,
		TokenType: m.tokenType, PluginVersion: m.pluginVersion,
	}
}

// tuning is input for an existing mount: without flags, options and description are nil and stay as
// they are.
func (m *mountFlags) tuning(b *base) api.MountConfigInput {
	in := m.input()
	if len(m.options) > 0 {
		in.Options = m.options
	}
	if b.given("description") {
		in.Description = &m.description
	}
	return in
}

// lockoutFlags are the settings that lock users out after failed logins.
type lockoutFlags struct {
	threshold       uint
	duration, reset mountTTL
	disable         bool
}

func (l *lockoutFlags) define(b *base) {
	b.flags.UintVar(&l.threshold, "user-lockout-threshold", 0, "`number` of failed logins after which a user is "+
		"locked out")
	b.flags.Var(&l.duration, "user-lockout-duration", "`time` for which a user is locked out")
	b.flags.Var(&l.reset, "user-lockout-counter-reset-duration", "`time` without a failed login after which the count "+
		"is reset")
	b.flags.BoolVar(&l.disable, "user-lockout-disable", false, "do not lock users out")
	b.own("user-lockout-threshold", "user-lockout-duration", "user-lockout-counter-reset-duration", "user-lockout-disable")
}

// input is nil without any of the flags.
func (l *lockoutFlags) input(b *base) *api.UserLockoutConfigInput {
	if !b.given("user-lockout-threshold", "user-lockout-duration", "user-lockout-counter-reset-duration",
		"user-lockout-disable") {
		return nil
	}
	in := &api.UserLockoutConfigInput{LockoutDuration: string(l.duration), LockoutCounterResetDuration: string(l.reset)}
	if b.given("user-lockout-threshold") {
		in.LockoutThreshold = strconv.FormatUint(uint64(l.threshold), 10)
	}
	if b.given("user-lockout-disable") {
		in.DisableLockout = &l.disable
	}
	return in
}

// pairsFlag is a repeatable k=v.
type pairsFlag map[string]string

func (p pairsFlag) String() string { return "" }

func (p pairsFlag) Set(v string) error {
	key, value, ok := strings.Cut(v, "=")
	if !ok || key == "" {
		return errors.New("the form is k=v")
	}
	p[key] = value
	return nil
}
