package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

func (h *handler) createToken(ctx context.Context, q *request) (*answer, error) {
	return h.create(ctx, q, token.CreateRequest{})
}

func (h *handler) createOrphan(ctx context.Context, q *request) (*answer, error) {
	return h.create(ctx, q, token.CreateRequest{Orphan: true})
}

func (h *handler) createByRole(ctx context.Context, q *request) (*answer, error) {
	role, err := q.state.Tokens().Role(ctx, q.rest)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Invalid, "unknown role %s", q.rest)
	}
	if err != nil {
		return nil, err
	}
	return h.create(ctx, q, token.CreateRequest{Role: role})
}

func (h *handler) create(ctx context.Context, q *request, c token.CreateRequest) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	if err := readCreate(field.Map(data), &c); err != nil {
		return nil, err
	}
	c.Path = q.path
	made, err := q.state.Tokens().CreateToken(ctx, q.identity, c)
	if err != nil {
		return nil, err
	}
	a := h.granted(made.Token, made.Text, made.Warnings)
	a.created = true
	return a, nil
}

func readCreate(f field.Map, c *token.CreateRequest) (err error) {
	if c.Meta, err = f.Texts("meta"); err != nil {
		return err
	}
	if c.Meta == nil { // as the command line calls it
		if c.Meta, err = f.Texts("metadata"); err != nil {
			return err
		}
	}
	renewable := true
	for _, err := range []error{
		f.Text("id", &c.ID), f.List("policies", &c.Policies), f.Flag("no_default_policy", &c.NoDefault), f.Flag("renewable", &renewable),
		f.Duration("lease", &c.TTL), f.Duration("ttl", &c.TTL), f.Duration("explicit_max_ttl", &c.ExplicitMax), f.Duration("period", &c.Period),
		f.Number("num_uses", &c.Uses), f.Text("type", &c.Type), f.Text("display_name", &c.DisplayName), f.Flag("no_parent", &c.NoParent),
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

// roleAnswer is a role as clients know it.
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

func (h *handler) tokenRole(ctx context.Context, q *request) (*answer, error) {
	r, err := q.state.Tokens().Role(ctx, q.rest)
	if fault.Is(err, fault.NotFound) {
		return done()
	}
	if err != nil {
		return nil, err
	}
	return shown(roleAnswer{
		AllowedEntityAliases: notNil(r.AllowedEntityAliases), AllowedPolicies: notNil(r.AllowedPolicies),
		AllowedPoliciesGlob: notNil(r.AllowedPoliciesGlob), BoundCIDRs: r.TokenBoundCIDRs, DisallowedPolicies: notNil(r.DisallowedPolicies),
		DisallowedPoliciesGlob: notNil(r.DisallowedPoliciesGlob), ExplicitMaxTTL: inSeconds(r.ExplicitMax), Name: r.Name, Orphan: r.Orphan,
		PathSuffix: r.PathSuffix, Period: inSeconds(r.Period), Renewable: r.Renewable, TokenBoundCIDRs: r.TokenBoundCIDRs,
		TokenExplicitMaxTTL: inSeconds(r.TokenExplicitMax), TokenNoDefaultPolicy: r.TokenNoDefaultPolicy, TokenNumUses: r.TokenNumUses,
		TokenPeriod: inSeconds(r.TokenPeriod), TokenType: r.TokenType,
	})
}

func (h *handler) writeTokenRole(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	tokens := q.state.Tokens()
	r, err := tokens.Role(ctx, q.rest)
	if fault.Is(err, fault.NotFound) {
		r, err = token.NewRole(q.rest), nil
	}
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	for _, err := range []error{
		f.Names("allowed_policies", &r.AllowedPolicies), f.Names("allowed_policies_glob", &r.AllowedPoliciesGlob),
		f.Names("disallowed_policies", &r.DisallowedPolicies), f.Names("disallowed_policies_glob", &r.DisallowedPoliciesGlob),
		f.Names("allowed_entity_aliases", &r.AllowedEntityAliases), f.Flag("orphan", &r.Orphan), f.Text("path_suffix", &r.PathSuffix),
		f.Flag("renewable", &r.Renewable), f.Duration("period", &r.Period), f.Duration("explicit_max_ttl", &r.ExplicitMax),
		f.Duration("token_period", &r.TokenPeriod), f.Duration("token_explicit_max_ttl", &r.TokenExplicitMax),
		f.Flag("token_no_default_policy", &r.TokenNoDefaultPolicy), f.Text("token_type", &r.TokenType), f.Number("token_num_uses", &r.TokenNumUses),
		f.Names("bound_cidrs", &r.TokenBoundCIDRs), f.Names("token_bound_cidrs", &r.TokenBoundCIDRs),
	} {
		if err != nil {
			return nil, err
		}
	}
	return nil, tokens.WriteRole(ctx, r)
}

func (h *handler) deleteTokenRole(ctx context.Context, q *request) (*answer, error) {
	return nil, q.state.Tokens().DeleteRole(ctx, q.rest)
}

func (h *handler) tokenRoles(ctx context.Context, q *request) (*answer, error) {
	return listed(q.state.Tokens().Roles(ctx))
}

// tokenRoleExists tells a create from an update.
func tokenRoleExists(ctx context.Context, q *request) (bool, error) {
	_, err := q.state.Tokens().Role(ctx, q.rest)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return true, nil // one that is damaged is there too
}
