package authn

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
)

// wrappingRoutes are for wrapping tokens. The routes with Unwraps authorise themselves by the
// wrapping token.
var wrappingRoutes = []api.Route{
	{Methods: api.Write, Path: "sys/wrapping/wrap", Body: api.AnyBody, Capability: policy.Update | policy.Create,
		Style: api.DoubleStyle, Guarded: true, Handle: wrapData},
	{Methods: api.Get, Path: "sys/wrapping/lookup", Access: api.Open, Guarded: true, Handle: wrapLookup},
	{Methods: api.Write, Path: "sys/wrapping/lookup", Body: api.SmallBody, Access: api.Open, Guarded: true,
		Handle: wrapLookup},
	{Methods: api.Get, Path: "sys/wrapping/pubkey", Access: api.Open, Guarded: true, Handle: wrappingKey},
	{Methods: api.Write, Path: "sys/wrapping/unwrap", Body: api.SmallBody, Access: api.Open, Unwraps: true, Guarded: true,
		Handle: unwrap},
	{Methods: api.Write, Path: "sys/wrapping/rewrap", Body: api.SmallBody, Access: api.Open, Unwraps: true, Guarded: true,
		Handle: rewrap},
}

var wrappingDocs = map[string]api.Doc{
	"sys/wrapping/wrap":   {Text: "Returns the body in a wrapping token. Any field is accepted.", Read: true, Open: true},
	"sys/wrapping/lookup": {Text: "Shows a wrapping token, without opening it.", Read: true, Body: wrapFields},
	"sys/wrapping/pubkey": {Text: "The key by which wrapping tokens in the form of a JWT can be checked."},
	"sys/wrapping/unwrap": {Text: "Returns the content of a wrapping token, once.", Read: true, Body: wrapFields},
	"sys/wrapping/rewrap": {Text: "Moves what a wrapping token holds to a new one.", Read: true, Body: wrapFields},
}

var wrapFields = []api.DocField{{"token", "string", "The wrapping token, where it is not the token of the request."}}

// wrappingKey shows the key that verifies wrapping tokens in the form of a JWT.
func wrappingKey(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	key, err := q.Role.Tokens().WrappingPublicKey(ctx)
	if err != nil {
		return nil, err
	}
	return api.Show(map[string]string{"public_key": key})
}

var errNotWrapped = fault.New(fault.Invalid, "endpoint requires response wrapping to be used: give X-Vault-Wrap-TTL")

// wrapData returns the body, wrapped.
func wrapData(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if q.WrapTTL == 0 {
		return nil, errNotWrapped
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	q.Data = nil // any field is accepted: none is unknown
	if data == nil {
		data = map[string]any{}
	}
	return api.Show(data)
}

type wrapLookupAnswer struct {
	CreationPath string `json:"creation_path"`
	CreationTime string `json:"creation_time"`
	CreationTTL  int64  `json:"creation_ttl"`
}

// wrapLookup shows a wrapping token to its bearer, without opening it.
func wrapLookup(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	token := ""
	if err := q.Param("token", &token); err != nil {
		return nil, err
	}
	if token == "" {
		q.ReadToken()
		token = q.Token
	}
	t, err := q.Role.Tokens().Wrapped(ctx, token)
	if err != nil {
		return nil, err
	}
	return api.Show(wrapLookupAnswer{t.Path, t.Created.Format(time.RFC3339Nano), api.InSeconds(t.TTL)})
}

// unwrap returns the wrapped answer.
func unwrap(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	u, err := q.Role.Tokens().Unwrap(ctx, q.Wrapping)
	if err != nil {
		return nil, err
	}
	defer clear(u.Answer)
	var w api.Wrapped
	if err := json.Unmarshal(u.Answer, &w); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "what the wrapping token held is damaged")
	}
	a := &api.Answer{LeaseID: w.LeaseID, Renewable: w.Renewable, Lease: w.Lease, Warnings: w.Warnings, Auth: w.Auth}
	if w.Data != nil {
		a.Data = w.Data
	}
	return a, nil
}

func rewrap(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	q.WrapJWT = q.WrapJWT || strings.EqualFold(q.HTTP.Header.Get("X-Vault-Wrap-Format"), "jwt")
	made, accessor, err := q.Role.Tokens().Rewrap(ctx, q.Wrapping)
	if err != nil {
		return nil, err
	}
	return q.Wrapped(ctx, made, accessor)
}
