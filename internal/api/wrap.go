package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// readWrapTTL reads the headers that ask for a wrapped answer.
func (q *Request) readWrapTTL() error {
	text := q.HTTP.Header.Get("X-Vault-Wrap-Ttl")
	if text == "" || q.Route.Style == BareStyle {
		return nil
	}
	ttl, err := field.ParseDuration(text)
	if err != nil || ttl < 0 {
		return fault.New(fault.Invalid, "error parsing X-Vault-Wrap-TTL header: %v", errDurationHeader)
	}
	q.WrapTTL, q.WrapJWT = ttl, ttl > 0 && strings.EqualFold(q.HTTP.Header.Get("X-Vault-Wrap-Format"), "jwt")
	return nil
}

const errDurationHeader = `give seconds, or a duration such as "90s"`

// Wrapped is an answer as a wrapping token holds it.
type Wrapped struct {
	LeaseID   string          `json:"lease_id,omitempty"`
	Renewable bool            `json:"renewable,omitempty"`
	Lease     int             `json:"lease_duration,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Warnings  []string        `json:"warnings,omitempty"`
	Auth      *AuthAnswer     `json:"auth,omitempty"`
}

// wrap puts an answer into a wrapping token if that was asked for. Empty answers and errors are not
// wrapped; a batch with errors is, because it has results, too, which a policy may let nobody read
// unwrapped. Where wrapping fails, a new token in the answer is revoked: no client would know it.
func (h *Handler) wrap(ctx context.Context, q *Request, a *Answer) (*Answer, error) {
	if a == nil || a.wrap != nil || a.Status == http.StatusNoContent || a.isError() || q.Role == nil || q.Sent {
		return a, nil
	}
	if q.Identity.Token() == nil && a.Auth == nil && !q.Route.Unwraps {
		return nil, errWrapsNothing
	}
	var err error
	if q.WrapJWT { // nothing is wrapped that cannot be signed
		_, err = q.Role.Tokens().WrappingPublicKey(ctx)
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
	if a.Auth != nil {
		accessor = a.Auth.Accessor
	}
	out, err := q.Wrapped(ctx, made, accessor)
	if err == nil && q.WrapTTL > token.MaxTTL {
		out.Warnings = append(out.Warnings, fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is "+
			"capped accordingly", q.WrapTTL, token.MaxTTL))
	}
	return out, err
}

// Wrapped answers with a wrapping token, in the form that was asked for.
func (q *Request) Wrapped(ctx context.Context, made *token.Created, accessor string) (*Answer, error) {
	w := describeWrap(made, accessor)
	if q.WrapJWT {
		var err error
		if w.Token, err = q.Role.Tokens().SignWrapping(ctx, made); err != nil {
			return nil, err
		}
	}
	return &Answer{wrap: w}, nil
}

// abandon revokes the new token of an answer that cannot be sent. A renewed token is known already,
// and stays.
func (h *Handler) abandon(ctx context.Context, q *Request, a *Answer) {
	if a.Auth == nil || !a.Created {
		return
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := q.Role.Tokens().Revoke(again, a.Auth.ClientToken)
	if err != nil && !fault.Is(err, fault.Denied) && !fault.Is(err, fault.Invalid) {
		h.Log.Warn("a token whose answer could not be wrapped was not revoked; it expires",
			"accessor", a.Auth.Accessor, "error", err)
	}
}

func (h *Handler) enclose(ctx context.Context, q *Request, a *Answer) (*token.Created, error) {
	w := Wrapped{LeaseID: a.LeaseID, Renewable: a.Renewable, Lease: a.Lease, Warnings: a.Warnings, Auth: a.Auth}
	var buf bytes.Buffer
	defer func() { clear(buf.Bytes()) }()
	if a.Data != nil {
		if err := writeJSON(&buf, a.Data); err != nil {
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
	if a.Auth != nil {
		accessor = a.Auth.Accessor
	}
	return q.Role.Tokens().Wrap(ctx, token.Wrapping{Path: q.Path, TTL: q.WrapTTL, Accessor: accessor, Answer: body})
}

// isError reports whether an answer has nothing but why there is none.
func (a *Answer) isError() bool {
	return a.Status == http.StatusNotFound || a.Status >= http.StatusMultipleChoices && a.Data == nil
}

// errWrapsNothing refuses to store what a client without a token has read: it could fill the
// storage.
var errWrapsNothing = fault.New(fault.Invalid, "X-Vault-Wrap-TTL needs a token: the answer to a request without one "+
	"is wrapped only where it is a login")

func describeWrap(made *token.Created, accessor string) *WrapAnswer {
	t := made.Token
	return &WrapAnswer{
		Token: made.Text, Accessor: t.Accessor, TTL: InSeconds(t.TTL), CreationTime: t.Created.Format(time.RFC3339Nano),
		CreationPath:    t.Path,
		WrappedAccessor: accessor,
	}
}

// admitUnwrap authorises opening a wrapping token: it is enough to use it as the request's token;
// another token needs the capability.
func (h *Handler) admitUnwrap(ctx context.Context, q *Request) error {
	q.ReadToken()
	if err := q.Param("token", &q.Wrapping); err != nil {
		return err
	}
	if q.Wrapping == "" || q.Wrapping == q.Token {
		q.Wrapping = q.Token
		return nil
	}
	var err error
	q.Identity, err = q.Role.Tokens().Authorize(ctx, q.Token, token.Need{
		Path: q.Path, Capability: policy.Update, Parameters: q, Remote: q.HTTP.RemoteAddr, WrapTTL: q.WrapTTL,
	})
	q.authentic = err == nil
	return err
}
