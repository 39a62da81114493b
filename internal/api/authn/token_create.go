package authn

import (
	"context"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

func createToken(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return create(ctx, h, q, token.CreateRequest{})
}

func createOrphan(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return create(ctx, h, q, token.CreateRequest{Orphan: true})
}

func createByRole(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	role, err := q.Role.Tokens().Role(ctx, q.Rest)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Invalid, "unknown role %s", q.Rest)
	}
	if err != nil {
		return nil, err
	}
	return create(ctx, h, q, token.CreateRequest{Role: role})
}

func create(ctx context.Context, h *api.Handler, q *api.Request, c token.CreateRequest) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	if err := readCreate(field.Map(data), &c); err != nil {
		return nil, err
	}
	c.Path = q.Path
	if m, ok := q.Role.AuthMethods().Get("token/"); ok {
		lease, most := m.Config.Effective()
		c.MountDefault, c.MountMax = time.Duration(lease)*time.Second, time.Duration(most)*time.Second
	}
	made, err := q.Role.Tokens().CreateToken(ctx, q.Identity, c)
	if err != nil {
		return nil, err
	}
	a := granted(h, made.Token, made.Text, made.Warnings)
	a.Created = true
	return a, nil
}

func readCreate(f field.Map, c *token.CreateRequest) (err error) {
	if c.Meta, err = f.Texts("meta"); err != nil {
		return err
	}
	if c.Meta == nil { // the command line's name
		if c.Meta, err = f.Texts("metadata"); err != nil {
			return err
		}
	}
	renewable := true
	for _, err := range []error{
		f.Text("id", &c.ID), f.List("policies", &c.Policies), f.Flag("no_default_policy", &c.NoDefault),
		f.Flag("renewable", &renewable),
		f.Duration("lease", &c.TTL), f.Duration("ttl", &c.TTL), f.Duration("explicit_max_ttl", &c.ExplicitMax),
		f.Duration("period", &c.Period),
		f.Number("num_uses", &c.Uses), f.Text("type", &c.Type), f.Text("display_name", &c.DisplayName),
		f.Flag("no_parent", &c.NoParent),
		f.Text("entity_alias", &c.EntityAlias),
	} {
		if err != nil {
			return err
		}
	}
	c.NotRenewable = !renewable
	if len(c.Meta) == 0 {
		c.Meta = nil
	}
	return nil
}

// roleAnswer shows a token role.
type roleAnswer struct {
	AllowedEntityAliases   []string `json:"allowed_entity_aliases"`
	AllowedPolicies        []string `json:"allowed_policies"`
	AllowedPoliciesGlob    []string `json:"allowed_policies_glob"`
	BoundCIDRs             []string `json:"bound_cidrs,omitempty"`
	DisallowedPolicies     []string `json:"disallowed_policies"`
	DisallowedPoliciesGlob []string `json:"disallowed_policies_glob"`
	ExplicitMaxTTL         int64    `json:"explicit_max_ttl"`
	Name                   string   `json:"name"`
	Orphan                 bool     `json:"orphan"`
	PathSuffix             string   `json:"path_suffix"`
	Period                 int64    `json:"period"`
	Renewable              bool     `json:"renewable"`
	TokenBoundCIDRs        []string `json:"token_bound_cidrs,omitempty"`
	TokenExplicitMaxTTL    int64    `json:"token_explicit_max_ttl"`
	TokenNoDefaultPolicy   bool     `json:"token_no_default_policy"`
	TokenNumUses           int64    `json:"token_num_uses,omitempty"`
	TokenPeriod            int64    `json:"token_period"`
	TokenType              string   `json:"token_type"`
}

func notNil(s []string) []string { return append([]string{}, s...) }

func tokenRole(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	r, err := q.Role.Tokens().Role(ctx, q.Rest)
	if fault.Is(err, fault.NotFound) {
		return api.Done()
	}
	if err != nil {
		return nil, err
	}
	return api.Show(roleAnswer{
		AllowedEntityAliases: notNil(r.AllowedEntityAliases), AllowedPolicies: notNil(r.AllowedPolicies),
		AllowedPoliciesGlob: notNil(r.AllowedPoliciesGlob), BoundCIDRs: r.BoundCIDRs,
		DisallowedPolicies:     notNil(r.DisallowedPolicies),
		DisallowedPoliciesGlob: notNil(r.DisallowedPoliciesGlob), ExplicitMaxTTL: api.InSeconds(r.ExplicitMax),
		Name: r.Name, Orphan: r.Orphan,
		PathSuffix: r.PathSuffix, Period: api.InSeconds(r.Period), Renewable: r.Renewable, TokenBoundCIDRs: r.TokenBoundCIDRs,
		TokenExplicitMaxTTL: api.InSeconds(r.TokenExplicitMax), TokenNoDefaultPolicy: r.TokenNoDefaultPolicy,
		TokenNumUses: r.TokenNumUses,
		TokenPeriod:  api.InSeconds(r.TokenPeriod), TokenType: r.TokenType,
	})
}

func writeTokenRole(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	tokens := q.Role.Tokens()
	r, err := tokens.Role(ctx, q.Rest)
	if fault.Is(err, fault.NotFound) {
		r, err = token.NewRole(q.Rest), nil
	}
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	for _, err := range []error{
		f.Limits("allowed_policies", &r.AllowedPolicies), f.Limits("allowed_policies_glob", &r.AllowedPoliciesGlob),
		f.Names("disallowed_policies", &r.DisallowedPolicies), f.Names("disallowed_policies_glob", &r.DisallowedPoliciesGlob),
		f.Names("allowed_entity_aliases", &r.AllowedEntityAliases), f.Flag("orphan", &r.Orphan),
		f.Text("path_suffix", &r.PathSuffix),
		f.Flag("renewable", &r.Renewable), twoNames(f, "period", f.Duration, &r.Period, &r.TokenPeriod),
		twoNames(f, "explicit_max_ttl", f.Duration, &r.ExplicitMax, &r.TokenExplicitMax),
		twoNames(f, "bound_cidrs", f.Limits, &r.BoundCIDRs, &r.TokenBoundCIDRs),
		f.Flag("token_no_default_policy", &r.TokenNoDefaultPolicy), f.Text("token_type", &r.TokenType),
		f.Number("token_num_uses", &r.TokenNumUses),
	} {
		if err != nil {
			return nil, err
		}
	}
	if err := tokens.WriteRole(ctx, r); err != nil {
		return nil, err
	}
	return ignoredNames(f), nil
}

// twoNames reads a parameter that has a deprecated name beside "token_" and that name. The current
// name wins; a value written by the deprecated one is shown by both.
func twoNames[T any](f field.Map, name string, read func(string, *T) error, older, current *T) error {
	if f.Has("token_" + name) {
		var none T
		*older = none
		return read("token_"+name, current)
	}
	if err := read(name, older); err != nil || !f.Has(name) {
		return err
	}
	*current = *older
	return nil
}

// ignoredNames warns of values that were given by both names.
func ignoredNames(f field.Map) *api.Answer {
	var warnings []string
	for _, name := range []string{"bound_cidrs", "period", "explicit_max_ttl"} {
		if f.Has(name) && f.Has("token_"+name) {
			warnings = append(warnings, fmt.Sprintf("Both 'token_%s' and deprecated '%s' value supplied, ignoring the "+
				"deprecated value", name, name))
		}
	}
	if len(warnings) == 0 {
		return nil
	}
	return &api.Answer{Warnings: warnings}
}

func deleteTokenRole(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return nil, q.Role.Tokens().DeleteRole(ctx, q.Rest)
}

func tokenRoles(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return api.List(q.Role.Tokens().Roles(ctx))
}

// tokenRoleExists distinguishes a create from an update.
func tokenRoleExists(ctx context.Context, q *api.Request) (bool, error) {
	_, err := q.Role.Tokens().Role(ctx, q.Rest)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return true, nil // a damaged one exists, too
}
