package api

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

const tokenPath = "auth/token/"

// tokenRoutes are all that is done with tokens. The sudo of revoke-orphan is asked for by its handler, because its refusal is a 400.
var tokenRoutes = []route{
	{Methods: write, Path: "auth/token/create", Body: smallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: (*handler).createToken},
	{Methods: write, Path: "auth/token/create-orphan", Body: smallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: (*handler).createOrphan},
	{Methods: write, Path: "auth/token/create/*", Body: smallBody, Capability: policy.Update | policy.Create,
		Guarded: true, Handle: (*handler).createByRole},
	{Methods: get, Path: "auth/token/lookup", Capability: policy.Read, Here: true, Guarded: true,
		Handle: (*handler).lookupToken},
	{Methods: write, Path: "auth/token/lookup", Body: smallBody, Capability: policy.Update, Here: true,
		Guarded: true, Handle: (*handler).lookupToken},
	{Methods: get, Path: "auth/token/lookup-self", Capability: policy.Read, Here: true, Guarded: true,
		Handle: (*handler).lookupSelf},
	{Methods: write, Path: "auth/token/lookup-self", Body: smallBody, Capability: policy.Read | policy.Update,
		Here: true, Guarded: true, Handle: (*handler).lookupSelf},
	{Methods: write, Path: "auth/token/lookup-accessor", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).lookupAccessor},
	{Methods: write, Path: "auth/token/renew", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).renewToken},
	{Methods: write, Path: "auth/token/renew-self", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).renewSelf},
	{Methods: write, Path: "auth/token/renew-accessor", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).renewAccessor},
	{Methods: write, Path: "auth/token/revoke", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).revokeToken},
	{Methods: write, Path: "auth/token/revoke-self", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).revokeSelf},
	{Methods: write, Path: "auth/token/revoke-accessor", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).revokeAccessor},
	{Methods: write, Path: "auth/token/revoke-orphan", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).revokeOrphan},
	{Methods: listing, Path: "auth/token/accessors", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: (*handler).accessors},
	{Methods: write, Path: "auth/token/tidy", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).tidyTokens},
	{Methods: listing, Path: "auth/token/roles", Capability: policy.List, Here: true, Guarded: true,
		Handle: (*handler).tokenRoles},
	{Methods: get, Path: "auth/token/roles/*", Capability: policy.Read, Here: true, Guarded: true,
		Handle: (*handler).tokenRole},
	{Methods: write, Path: "auth/token/roles/*", Body: smallBody, Capability: policy.Update, Guarded: true,
		Exists: tokenRoleExists, Handle: (*handler).writeTokenRole},
	{Methods: remove, Path: "auth/token/roles/*", Capability: policy.Delete, Guarded: true,
		Handle: (*handler).deleteTokenRole},
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

// describeToken tells about a token; its text is told to whoever had it.
func (h *handler) describeToken(t *token.Token, text string) (*answer, error) {
	a := tokenAnswer{
		Accessor: t.Accessor, BoundCIDRs: t.Networks, CreationTime: t.Created.Unix(), CreationTTL: inSeconds(t.TTL), DisplayName: t.DisplayName,
		ExplicitMaxTTL: inSeconds(t.ExplicitMax), ID: text, Meta: t.Meta, NumUses: max(0, t.Uses), Orphan: t.Orphan(), Path: t.Path,
		Period: inSeconds(t.Period), Policies: t.Policies, Role: t.Role, Type: t.Type.String(), TTL: inSeconds(t.Left(h.Now())),
	}
	if !t.Expires.IsZero() {
		expires := t.Expires.Format(time.RFC3339Nano)
		a.ExpireTime, a.IssueTime, a.Renewable = &expires, t.Created.Format(time.RFC3339Nano), &t.Renewable
	}
	if !t.Renewed.IsZero() {
		a.LastRenewal, a.LastRenewalTime = t.Renewed.Format(time.RFC3339Nano), t.Renewed.Unix()
	}
	return shown(a)
}

// lifeGranted is how long the token was to live when it was made or renewed: who asks for an hour is told an hour, however long the answer
// took. It is 0 where the token does not expire.
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

// granted is the answer that hands out a token, or tells of one that was renewed.
func (h *handler) granted(t *token.Token, text string, warnings []string) *answer {
	return &answer{warnings: warnings, auth: &authAnswer{
		ClientToken: text, Accessor: t.Accessor, Policies: t.Policies, TokenPolicies: t.Policies, Metadata: t.Meta,
		LeaseDuration: inSeconds(lifeGranted(t)), Renewable: t.Renewable, TokenType: t.Type.String(), Orphan: t.Orphan(),
		NumUses: max(0, t.Uses),
	}}
}

// lookupSelf tells the bearer of a token about it.
func (h *handler) lookupSelf(_ context.Context, q *request) (*answer, error) {
	return h.describeToken(q.identity.Token(), q.token)
}

// errBadToken is Vault's text for an unknown token in a lookup; 403, unlike everywhere else.
var errBadToken = fault.New(fault.Denied, "bad token")

func (h *handler) lookupToken(ctx context.Context, q *request) (*answer, error) {
	var text string
	if err := q.param("token", &text); err != nil {
		return nil, err
	}
	if text == "" {
		return h.lookupSelf(ctx, q)
	}
	t, err := q.state.Tokens().Lookup(ctx, text)
	if fault.Is(err, fault.Denied) {
		return nil, errBadToken
	}
	if err != nil {
		return nil, err
	}
	return h.describeToken(t, text)
}

// given reads one text out of the body, or of the query of a read.
func (q *request) param(name string, into *string) error {
	data, err := q.Fields()
	if err != nil {
		return err
	}
	return field.Map(data).Text(name, into)
}

// Fields are what policies may speak of: the body's, and of a read the query's.
func (q *request) Fields() (map[string]any, error) {
	if q.method() != "GET" {
		return q.object()
	}
	data := make(map[string]any, len(q.query))
	for name, values := range q.query {
		if len(values) > 0 {
			data[name] = values[0]
		}
	}
	return data, nil
}

var errMissingAccessor = fault.New(fault.Invalid, "%s", twoLines("missing accessor"))

// byAccessor finds the token whose accessor the body names.
func (q *request) byAccessor(ctx context.Context) (token.Identity, error) {
	var accessor string
	if err := q.param("accessor", &accessor); err != nil {
		return token.Identity{}, err
	}
	if accessor == "" {
		return token.Identity{}, errMissingAccessor
	}
	return q.state.Tokens().ByAccessor(ctx, accessor)
}

func (h *handler) lookupAccessor(ctx context.Context, q *request) (*answer, error) {
	who, err := q.byAccessor(ctx)
	if err != nil {
		return nil, err
	}
	return h.describeToken(who.Token(), "")
}

// listed is the answer to a list; without names it is 404.
func listed(names []string, err error) (*answer, error) {
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return shown(keysAnswer{names})
}

func (h *handler) accessors(ctx context.Context, q *request) (*answer, error) {
	return listed(q.state.Tokens().Accessors(ctx))
}
