package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// wrappingRoutes are what is done with wrapping tokens. Those that open one are let in by [handler.admitUnwrap].
var wrappingRoutes = []route{
	{Methods: write, Path: "sys/wrapping/wrap", Body: anyBody, Capability: policy.Update | policy.Create,
		Style: doubleStyle, Guarded: true, Handle: (*handler).wrapData},
	{Methods: get, Path: "sys/wrapping/lookup", Access: anybody, Guarded: true, Handle: (*handler).wrapLookup},
	{Methods: write, Path: "sys/wrapping/lookup", Body: smallBody, Access: anybody, Guarded: true,
		Handle: (*handler).wrapLookup},
	{Methods: get, Path: "sys/wrapping/pubkey", Access: anybody, Guarded: true, Handle: (*handler).wrappingKey},
	{Methods: write, Path: "sys/wrapping/unwrap", Body: smallBody, Access: anybody, Unwraps: true, Guarded: true,
		Handle: (*handler).unwrap},
	{Methods: write, Path: "sys/wrapping/rewrap", Body: smallBody, Access: anybody, Unwraps: true, Guarded: true,
		Handle: (*handler).rewrap},
}

var wrappingDocs = map[string]doc{
	"sys/wrapping/wrap":   {Text: "Gives back what it is given, in a wrapping token. Takes any fields.", Read: true, Open: true},
	"sys/wrapping/lookup": {Text: "Tells of a wrapping token, without opening it.", Read: true, Body: wrapFields},
	"sys/wrapping/pubkey": {Text: "The key by which wrapping tokens in the form of a JWT can be checked."},
	"sys/wrapping/unwrap": {Text: "Hands out what a wrapping token holds, once.", Read: true, Body: wrapFields},
	"sys/wrapping/rewrap": {Text: "Moves what a wrapping token holds to a new one.", Read: true, Body: wrapFields},
}

var wrapFields = []docField{{"token", "string", "The wrapping token, where it is not the token of the request."}}

// readWrapTTL reads the headers by which an answer is to be wrapped.
func (q *request) readWrapTTL() error {
	text := q.http.Header.Get("X-Vault-Wrap-Ttl")
	if text == "" || q.route.Style == bareStyle {
		return nil
	}
	ttl, err := field.ParseDuration(text)
	if err != nil || ttl < 0 {
		return fault.New(fault.Invalid, "error parsing X-Vault-Wrap-TTL header: %v", errDurationHeader)
	}
	q.wrapTTL, q.wrapJWT = ttl, ttl > 0 && strings.EqualFold(q.http.Header.Get("X-Vault-Wrap-Format"), "jwt")
	return nil
}

const errDurationHeader = `give seconds, or a duration such as "90s"`

// wrapped is an answer as a wrapping token holds it.
type wrapped struct {
	LeaseID   string          `json:"lease_id,omitempty"`
	Renewable bool            `json:"renewable,omitempty"`
	Lease     int             `json:"lease_duration,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Warnings  []string        `json:"warnings,omitempty"`
	Auth      *authAnswer     `json:"auth,omitempty"`
}

// wrap puts an answer into a wrapping token, where that was asked for. What has nothing in it, and errors, are not wrapped. Where it
// fails a token that the answer would have handed out is ended: nobody would know it.
func (h *handler) wrap(ctx context.Context, q *request, a *answer) (*answer, error) {
	if a == nil || a.wrap != nil || a.status == http.StatusNoContent || a.status >= http.StatusMultipleChoices || q.state == nil || q.sent {
		return a, nil
	}
	var err error
	if q.wrapJWT { // what cannot be signed is not wrapped either
		_, err = q.state.Tokens().WrappingPublicKey(ctx)
	}
	var made *token.Created
	if err == nil {
		made, err = h.enclose(ctx, q, a)
	}
	if err != nil {
		h.abandon(ctx, q, a)
		return nil, err
	}
	accessor := ""
	if a.auth != nil {
		accessor = a.auth.Accessor
	}
	return q.wrapped(ctx, made, accessor)
}

// wrapped is the answer that tells of a wrapping token, in the form that was asked for.
func (q *request) wrapped(ctx context.Context, made *token.Created, accessor string) (*answer, error) {
	w := describeWrap(made, accessor)
	if q.wrapJWT {
		var err error
		if w.Token, err = q.state.Tokens().SignWrapping(ctx, made); err != nil {
			return nil, err
		}
	}
	return &answer{wrap: w}, nil
}

// wrappingKey shows the key by which wrapping tokens in the form of a JWT can be checked.
func (h *handler) wrappingKey(ctx context.Context, q *request) (*answer, error) {
	key, err := q.state.Tokens().WrappingPublicKey(ctx)
	if err != nil {
		return nil, err
	}
	return shown(map[string]string{"public_key": key})
}

// abandon ends the token that an answer would have handed out. One that was renewed is known already, and goes on.
func (h *handler) abandon(ctx context.Context, q *request, a *answer) {
	if a.auth == nil || !a.created {
		return
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := q.state.Tokens().Revoke(again, a.auth.ClientToken)
	if err != nil && !fault.Is(err, fault.Denied) && !fault.Is(err, fault.Invalid) {
		h.Log.Warn("a token was made that nobody knows, because its answer could not be wrapped; it ends by itself",
			"accessor", a.auth.Accessor, "error", err)
	}
}

func (h *handler) enclose(ctx context.Context, q *request, a *answer) (*token.Created, error) {
	w := wrapped{LeaseID: a.leaseID, Renewable: a.renewable, Lease: a.lease, Warnings: a.warnings, Auth: a.auth}
	var buf bytes.Buffer
	defer func() { clear(buf.Bytes()) }()
	if a.data != nil {
		if err := writeJSON(&buf, a.data); err != nil {
			return nil, err
		}
		w.Data = buf.Bytes()
	}
	body, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	accessor := ""
	if a.auth != nil {
		accessor = a.auth.Accessor
	}
	return q.state.Tokens().Wrap(ctx, token.Wrapping{Path: q.path, TTL: q.wrapTTL, Accessor: accessor, Answer: body})
}

func describeWrap(made *token.Created, accessor string) *wrapAnswer {
	t := made.Token
	return &wrapAnswer{
		Token: made.Text, Accessor: t.Accessor, TTL: inSeconds(t.TTL), CreationTime: t.Created.Format(time.RFC3339Nano), CreationPath: t.Path,
		WrappedAccessor: accessor,
	}
}

// admitUnwrap lets those in who open a wrapping token: who comes with it as his own needs nothing else; who names another one needs a
// token that allows it.
func (h *handler) admitUnwrap(ctx context.Context, q *request) error {
	q.readToken()
	if err := q.param("token", &q.wrapping); err != nil {
		return err
	}
	if q.wrapping == "" || q.wrapping == q.token {
		q.wrapping = q.token
		return nil
	}
	var err error
	q.identity, err = q.state.Tokens().Authorize(ctx, q.token, token.Need{
		Path: q.path, Capability: policy.Update, Parameters: q, Remote: q.http.RemoteAddr, WrapTTL: q.wrapTTL,
	})
	q.authentic = err == nil
	return err
}

var errNotWrapped = fault.New(fault.Invalid, "endpoint requires response wrapping to be used: give X-Vault-Wrap-TTL")

// wrapData gives back what it is given, wrapped.
func (h *handler) wrapData(_ context.Context, q *request) (*answer, error) {
	if q.wrapTTL == 0 {
		return nil, errNotWrapped
	}
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	q.data = nil // there is no field that would be unknown
	if data == nil {
		data = map[string]any{}
	}
	return shown(data)
}

type wrapLookupAnswer struct {
	CreationPath string `json:"creation_path"`
	CreationTime string `json:"creation_time"`
	CreationTTL  int64  `json:"creation_ttl"`
}

// wrapLookup tells of a wrapping token to anybody who has it, and leaves it as it is.
func (h *handler) wrapLookup(ctx context.Context, q *request) (*answer, error) {
	token := ""
	if err := q.param("token", &token); err != nil {
		return nil, err
	}
	if token == "" {
		q.readToken()
		token = q.token
	}
	t, err := q.state.Tokens().Wrapped(ctx, token)
	if err != nil {
		return nil, err
	}
	return shown(wrapLookupAnswer{t.Path, t.Created.Format(time.RFC3339Nano), inSeconds(t.TTL)})
}

// unwrap gives the answer as it was.
func (h *handler) unwrap(ctx context.Context, q *request) (*answer, error) {
	u, err := q.state.Tokens().Unwrap(ctx, q.wrapping)
	if err != nil {
		return nil, err
	}
	defer clear(u.Answer)
	var w wrapped
	if err := json.Unmarshal(u.Answer, &w); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "what the wrapping token held is damaged")
	}
	a := &answer{leaseID: w.LeaseID, renewable: w.Renewable, lease: w.Lease, warnings: w.Warnings, auth: w.Auth}
	if w.Data != nil {
		a.data = w.Data
	}
	return a, nil
}

func (h *handler) rewrap(ctx context.Context, q *request) (*answer, error) {
	q.wrapJWT = q.wrapJWT || strings.EqualFold(q.http.Header.Get("X-Vault-Wrap-Format"), "jwt")
	made, accessor, err := q.state.Tokens().Rewrap(ctx, q.wrapping)
	if err != nil {
		return nil, err
	}
	return q.wrapped(ctx, made, accessor)
}
