package method

import (
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// TokenParams are the token parameters that the roles of every method have. Durations are seconds;
// 0 means not set.
type TokenParams struct {
	TTL         int64    `json:"token_ttl,omitempty"`
	MaxTTL      int64    `json:"token_max_ttl,omitempty"`
	ExplicitMax int64    `json:"token_explicit_max_ttl,omitempty"`
	Period      int64    `json:"token_period,omitempty"`
	NumUses     int64    `json:"token_num_uses,omitempty"`
	Policies    []string `json:"token_policies,omitempty"`
	NoDefault   bool     `json:"token_no_default_policy,omitempty"`
	Type        string   `json:"token_type,omitempty"`
	BoundCIDRs  []string `json:"token_bound_cidrs,omitempty"`
	Older       []string `json:"older_names,omitempty"` // deprecated names under which parameters were written
}

// older maps parameter names to their deprecated names without "token_".
var older = map[string]string{
	"policies": "token_policies", "ttl": "token_ttl", "lease": "token_ttl", "max_ttl": "token_max_ttl",
	"period":   "token_period",
	"num_uses": "token_num_uses", "bound_cidrs": "token_bound_cidrs",
}

// Read reads the parameters of a request. A deprecated name is used if the current one is not
// given.
func (p *TokenParams) Read(f field.Map) error {
	g := field.Map{}
	for old, name := range older {
		if f[old] != nil && g[name] == nil {
			g[name] = f[old]
		}
	}
	for name, v := range f {
		if v != nil {
			g[name] = v
		}
	}
	next := *p
	next.Older = p.older(f)
	err := field.First(
		g.Seconds("token_ttl", &next.TTL), g.Seconds("token_max_ttl", &next.MaxTTL),
		g.Seconds("token_explicit_max_ttl", &next.ExplicitMax),
		g.Seconds("token_period", &next.Period), g.Number("token_num_uses", &next.NumUses),
		g.Names("token_policies", &next.Policies),
		g.Flag("token_no_default_policy", &next.NoDefault), g.Text("token_type", &next.Type),
		g.Limits("token_bound_cidrs", &next.BoundCIDRs),
	)
	if err != nil {
		return err
	}
	if next.BoundCIDRs, err = Networks("token_bound_cidrs", next.BoundCIDRs); err != nil {
		return err
	}
	if err := next.check(); err != nil {
		return err
	}
	*p = next
	return nil
}

// older returns the deprecated names to show after a write: those that it uses, and those of before
// whose parameter it does not set by the current name. So a client that reads back what it wrote
// finds it.
func (p *TokenParams) older(f field.Map) []string {
	var names []string
	for old, name := range older {
		if old != "lease" && (f[old] != nil || f[name] == nil && slices.Contains(p.Older, old)) {
			names = append(names, old)
		}
	}
	slices.Sort(names)
	return names
}

func (p *TokenParams) check() error {
	for name, n := range map[string]int64{
		"token_ttl": p.TTL, "token_max_ttl": p.MaxTTL, "token_explicit_max_ttl": p.ExplicitMax, "token_period": p.Period,
		"token_num_uses": p.NumUses,
	} {
		if n < 0 {
			return Invalid("'%s' cannot be negative", name)
		}
	}
	if p.MaxTTL > 0 && p.TTL > p.MaxTTL {
		return Invalid("'token_ttl' cannot be greater than 'token_max_ttl'")
	}
	if p.Type == "default" {
		p.Type = ""
	}
	if !slices.Contains([]string{"", "service", "batch", "default-service", "default-batch"}, p.Type) {
		return Invalid("invalid 'token_type' value %q", p.Type)
	}
	if slices.Contains(p.Policies, "root") {
		return Invalid("auth methods cannot create root tokens: remove the policy \"root\"")
	}
	if p.Type == "batch" || p.Type == "default-batch" {
		switch {
		case p.Period != 0:
			return Invalid("'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens")
		case p.NumUses != 0:
			return Invalid("'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use " +
				"count")
		}
	}
	return nil
}

// Show adds the parameters to a response.
func (p *TokenParams) Show(data map[string]any) map[string]any {
	kind := p.Type
	if kind == "" {
		kind = "default"
	}
	for name, v := range map[string]any{
		"token_ttl": p.TTL, "token_max_ttl": p.MaxTTL, "token_explicit_max_ttl": p.ExplicitMax, "token_period": p.Period,
		"token_num_uses": p.NumUses,
		"token_policies": NotNil(p.Policies), "token_no_default_policy": p.NoDefault, "token_type": kind,
		"token_bound_cidrs": NotNil(p.BoundCIDRs),
	} {
		data[name] = v
	}
	for _, old := range p.Older {
		if v := data[older[old]]; !empty(v) {
			data[old] = v
		}
	}
	return data
}

func empty(v any) bool {
	list, ok := v.([]string)
	return ok && len(list) == 0 || v == int64(0)
}

// NotNil returns an empty list for nil: clients expect [] rather than null.
func NotNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Login starts the response to a login.
func (p *TokenParams) Login(name string, meta map[string]string) *mount.Response {
	s := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	return &mount.Response{Login: &mount.Login{
		DisplayName: name, Meta: meta, Policies: p.Policies, NoDefault: p.NoDefault, TTL: s(p.TTL), MaxTTL: s(p.MaxTTL),
		ExplicitMax: s(p.ExplicitMax), Period: s(p.Period), Uses: p.NumUses, Type: p.Type, Networks: p.BoundCIDRs,
	}}
}
