package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// mountFlags are what secrets engines and auth methods can be enabled and tuned with.
type mountFlags struct {
	lease, most                        mountTTL
	hideless, hidelessAnswers          list
	passthrough, allowed               list
	visibility, description, tokenType string
	pluginVersion                      string
	version                            int
	options                            pairsFlag
}

// mountTTL is a time as servers take it: "" leaves what there is, "system" is the server's default.
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
		return errors.New(`a time is needed, such as "60" or "5m", or "system"`)
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
	f.Var(&m.lease, "default-lease-ttl", "`time` that leases last; system for the server's default")
	f.Var(&m.most, "max-lease-ttl", "`time` that leases last at most; system for the server's default")
	f.Var(&m.hideless, "audit-non-hmac-request-keys", "`key` of requests that audit devices show as it is; may be repeated")
	f.Var(&m.hidelessAnswers, "audit-non-hmac-response-keys", "`key` of answers that audit devices show as it is; may be repeated")
	f.Var(&m.passthrough, "passthrough-request-headers", "`header` of requests that is handed on; may be repeated")
	f.Var(&m.allowed, "allowed-response-headers", "`header` that answers may have; may be repeated")
	f.StringVar(&m.visibility, "listing-visibility", "", "`whether` it is listed without a token: unauth or hidden")
	f.StringVar(&m.description, "description", "", "`text` for people")
	f.StringVar(&m.pluginVersion, "plugin-version", "", "`version` of the plugin")
	f.IntVar(&m.version, "version", 0, "`number` of the version to run, where there are several")
	f.Var(m.options, "options", "`k=v` for it; may be repeated")
	b.own("default-lease-ttl", "max-lease-ttl", "audit-non-hmac-request-keys", "audit-non-hmac-response-keys", "passthrough-request-headers",
		"allowed-response-headers", "listing-visibility", "description", "plugin-version", "version", "options")
}

// forAuth adds what auth methods have besides.
func (m *mountFlags) forAuth(b *base) {
	b.flags.StringVar(&m.tokenType, "token-type", "", "`kind` of the tokens: default-service, default-batch, service or batch")
	b.own("token-type")
}

// input is what the flags ask for; what was not given stays out.
func (m *mountFlags) input() api.MountConfigInput {
	if m.version > 0 {
		m.options["version"] = strconv.Itoa(m.version)
	}
	return api.MountConfigInput{
		DefaultLeaseTTL: string(m.lease), MaxLeaseTTL: string(m.most), ListingVisibility: m.visibility,
		AuditNonHMACRequestKeys: m.hideless, AuditNonHMACResponseKeys: m.hidelessAnswers,
		PassthroughRequestHeaders: m.passthrough, AllowedResponseHeaders: m.allowed,
		TokenType: m.tokenType, PluginVersion: m.pluginVersion,
	}
}

// tuning is input for what is mounted already: nil options and an absent description leave those alone.
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
