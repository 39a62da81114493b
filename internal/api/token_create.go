package api

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
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
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	if err := readCreate(fields(data), &c); err != nil {
		return nil, err
	}
	c.Path = q.path
	made, err := q.state.Tokens().CreateToken(ctx, q.identity, c)
	if err != nil {
		return nil, err
	}
	return h.granted(made.Token, made.Text, made.Warnings), nil
}

func readCreate(f fields, c *token.CreateRequest) (err error) {
	if c.Meta, err = f.texts("meta"); err != nil {
		return err
	}
	if c.Meta == nil { // as the command line calls it
		if c.Meta, err = f.texts("metadata"); err != nil {
			return err
		}
	}
	renewable := true
	for _, err := range []error{
		f.text("id", &c.ID), f.list("policies", &c.Policies), f.flag("no_default_policy", &c.NoDefault), f.flag("renewable", &renewable),
		f.duration("lease", &c.TTL), f.duration("ttl", &c.TTL), f.duration("explicit_max_ttl", &c.ExplicitMax), f.duration("period", &c.Period),
		f.number("num_uses", &c.Uses), f.text("type", &c.Type), f.text("display_name", &c.DisplayName), f.flag("no_parent", &c.NoParent),
		f.text("entity_alias", &c.EntityAlias),
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

// splitNames takes a list of names, or one text with commas: the lists of roles, unlike those of tokens, can be written so.
func splitNames(f fields, name string, into *[]string) error {
	if text, ok := f[name].(string); ok {
		*into = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*into = append(*into, part)
			}
		}
		return nil
	}
	return f.list(name, into)
}

func (h *handler) writeTokenRole(ctx context.Context, q *request) (*answer, error) {
	data, err := q.fields()
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
	f := fields(data)
	for _, err := range []error{
		splitNames(f, "allowed_policies", &r.AllowedPolicies), splitNames(f, "allowed_policies_glob", &r.AllowedPoliciesGlob),
		splitNames(f, "disallowed_policies", &r.DisallowedPolicies), splitNames(f, "disallowed_policies_glob", &r.DisallowedPoliciesGlob),
		splitNames(f, "allowed_entity_aliases", &r.AllowedEntityAliases), f.flag("orphan", &r.Orphan), f.text("path_suffix", &r.PathSuffix),
		f.flag("renewable", &r.Renewable), f.duration("period", &r.Period), f.duration("explicit_max_ttl", &r.ExplicitMax),
		f.duration("token_period", &r.TokenPeriod), f.duration("token_explicit_max_ttl", &r.TokenExplicitMax),
		f.flag("token_no_default_policy", &r.TokenNoDefaultPolicy), f.text("token_type", &r.TokenType), f.number("token_num_uses", &r.TokenNumUses),
		splitNames(f, "bound_cidrs", &r.TokenBoundCIDRs), splitNames(f, "token_bound_cidrs", &r.TokenBoundCIDRs),
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
