package authn

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
)

// tokenRoutes are for tokens. The handler of revoke-orphan checks for sudo, because its refusal is
// a 400.
var tokenRoutes = []api.Route{
	{Methods: api.Write, Path: "auth/token/create", Body: api.SmallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: createToken},
	{Methods: api.Write, Path: "auth/token/create-orphan", Body: api.SmallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: createOrphan},
	{Methods: api.Write, Path: "auth/token/create/*", Body: api.SmallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: createByRole},
	{Methods: api.Get, Path: "auth/token/lookup", Capability: policy.Read, Here: true, Guarded: true,
		Handle: lookupToken},
	{Methods: api.Write, Path: "auth/token/lookup", Body: api.SmallBody, Capability: policy.Update, Here: true,
		Guarded: true, Handle: lookupToken},
	{Methods: api.Get, Path: "auth/token/lookup-self", Capability: policy.Read, Here: true, Guarded: true,
		Handle: lookupSelf},
	{Methods: api.Write, Path: "auth/token/lookup-self", Body: api.SmallBody, Capability: policy.Read | policy.Update,
		Here: true, Guarded: true, Handle: lookupSelf},
	{Methods: api.Write, Path: "auth/token/lookup-accessor", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: lookupAccessor},
	{Methods: api.Write, Path: "auth/token/renew", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: renewToken},
	{Methods: api.Write, Path: "auth/token/renew-self", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: renewSelf},
	{Methods: api.Write, Path: "auth/token/renew-accessor", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: renewAccessor},
	{Methods: api.Write, Path: "auth/token/revoke", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: revokeToken},
	{Methods: api.Write, Path: "auth/token/revoke-self", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: revokeSelf},
	{Methods: api.Write, Path: "auth/token/revoke-accessor", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: revokeAccessor},
	{Methods: api.Write, Path: "auth/token/revoke-orphan", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: revokeOrphan},
	{Methods: api.Listing, Path: "auth/token/accessors", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: accessors},
	{Methods: api.Write, Path: "auth/token/tidy", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: tidyTokens},
	{Methods: api.Listing, Path: "auth/token/roles", Capability: policy.List, Here: true, Guarded: true,
		Handle: tokenRoles},
	{Methods: api.Get, Path: "auth/token/roles/*", Capability: policy.Read, Here: true, Guarded: true,
		Handle: tokenRole},
	{Methods: api.Write, Path: "auth/token/roles/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Exists: tokenRoleExists, Handle: writeTokenRole},
	{Methods: api.Remove, Path: "auth/token/roles/*", Capability: policy.Delete, Guarded: true,
		Handle: deleteTokenRole},
}

type tokenAnswer struct {
	Accessor        string            `json:"accessor"`
	BoundCIDRs      []string          `json:"bound_cidrs,omitempty"`
	CreationTime    int64             `json:"creation_time"`
	CreationTTL     int64             `json:"creation_ttl"`
	DisplayName     string            `json:"display_name"`
	EntityID        string            `json:"entity_id"`
	ExpireTime      *string           `json:"expire_time"`
	ExplicitMaxTTL  int64             `json:"explicit_max_ttl"`
	ID              string            `json:"id"`
	IssueTime       string            `json:"issue_time,omitempty"` // of tokens that expire
	LastRenewal     string            `json:"last_renewal,omitempty"`
	LastRenewalTime int64             `json:"last_renewal_time,omitempty"`
	Meta            map[string]string `json:"meta"`
	NumUses         int64             `json:"num_uses"`
	Orphan          bool              `json:"orphan"`
	Path            string            `json:"path"`
	Period          int64             `json:"period,omitempty"`
	Policies        []string          `json:"policies"`
	Renewable       *bool             `json:"renewable,omitempty"` // of tokens that expire
	Role            string            `json:"role,omitempty"`
	TTL             int64             `json:"ttl"`
	Type            string            `json:"type"`
}

// describeToken shows a token; text is "" for clients that did not give it.
func describeToken(h *api.Handler, t *token.Token, text string) (*api.Answer, error) {
	a := tokenAnswer{
		Accessor: t.Accessor, BoundCIDRs: t.Networks, CreationTime: t.Created.Unix(), CreationTTL: api.InSeconds(t.TTL),
		DisplayName:    t.DisplayName,
		ExplicitMaxTTL: api.InSeconds(t.ExplicitMax), ID: text, Meta: t.Meta, NumUses: max(0, t.Uses),
		Orphan: t.Orphan(), Path: t.Path,
		Period: api.InSeconds(t.Period), Policies: t.Policies, Role: t.Role, Type: t.Type.String(),
		TTL: api.InSeconds(t.Left(h.Now())),
	}
	if !t.Expires.IsZero() {
		expires := t.Expires.Format(time.RFC3339Nano)
		a.ExpireTime, a.IssueTime, a.Renewable = &expires, t.Created.Format(time.RFC3339Nano), &t.Renewable
	}
	if !t.Renewed.IsZero() {
		a.LastRenewal, a.LastRenewalTime = t.Renewed.Format(time.RFC3339Nano), t.Renewed.Unix()
	}
	return api.Show(a)
}

// lifeGranted is the token's lifetime when it was created or renewed: a client that asks for an
// hour gets an hour, however long the answer took. It is 0 for a token that does not expire.
func lifeGranted(t *token.Token) time.Duration {
	if t.Expires.IsZero() {
		return 0
	}
	since := t.Created
	if t.Renewed.After(since) {
		since = t.Renewed
	}
	return max(0, t.Expires.Sub(since))
}

// granted answers with a token that was created or renewed.
func granted(h *api.Handler, t *token.Token, text string, warnings []string) *api.Answer {
	return &api.Answer{Warnings: warnings, Auth: &api.AuthAnswer{
		ClientToken: text, Accessor: t.Accessor, Policies: t.Policies, TokenPolicies: t.Policies, Metadata: t.Meta,
		LeaseDuration: api.InSeconds(lifeGranted(t)), Renewable: t.Renewable, TokenType: t.Type.String(), Orphan: t.Orphan(),
		NumUses: max(0, t.Uses),
	}}
}

// lookupSelf shows the token of the request.
func lookupSelf(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return describeToken(h, q.Identity.Token(), q.Token)
}

// errBadToken is Vault's text for an unknown token in a lookup; 403, unlike everywhere else.
var errBadToken = fault.New(fault.Denied, "bad token")

func lookupToken(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var text string
	if err := q.Param("token", &text); err != nil {
		return nil, err
	}
	if text == "" {
		return lookupSelf(ctx, h, q)
	}
	t, err := q.Role.Tokens().Lookup(ctx, text)
	if fault.Is(err, fault.Denied) {
		return nil, errBadToken
	}
	if err != nil {
		return nil, err
	}
	return describeToken(h, t, text)
}

var errMissingAccessor = fault.New(fault.Invalid, "%s", api.Bulleted("missing accessor"))

// ByAccessor finds the token whose accessor the body names.
func ByAccessor(ctx context.Context, q *api.Request) (token.Identity, error) {
	var accessor string
	if err := q.Param("accessor", &accessor); err != nil {
		return token.Identity{}, err
	}
	if accessor == "" {
		return token.Identity{}, errMissingAccessor
	}
	return q.Role.Tokens().ByAccessor(ctx, accessor)
}

func lookupAccessor(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, err := ByAccessor(ctx, q)
	if err != nil {
		return nil, err
	}
	return describeToken(h, who.Token(), "")
}

func accessors(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return api.List(q.Role.Tokens().Accessors(ctx))
}
