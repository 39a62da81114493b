package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/mount"
)

// auditText returns the trail's text of an error, which is the client's.
func (h *Handler) auditText(q *Request, err error) string {
	if err == nil {
		return ""
	}
	var empty bare
	if errors.As(err, &empty) {
		return http.StatusText(int(empty))
	}
	_, text := h.judge(q, err)
	return text
}

func (h *Handler) auditRequest(q *Request) *audit.Request {
	r := &audit.Request{
		ID: q.ID(), Operation: q.Op.String(), Path: q.Path, Token: q.Token, Accessor: q.Identity.Accessor,
		ClientID: clientID(q.Identity.Accessor),
		Data:     q.auditData(), Headers: q.auditHeaders(h.Trail.Headers()), Guarded: q.Route.Guarded, WrapTTL: q.WrapTTL,
	}
	if rest, ok := strings.CutPrefix(q.url, "/v1/"); !ok || rest != q.Path {
		r.URI = q.url
	}
	host, port, err := net.SplitHostPort(q.HTTP.RemoteAddr)
	if err == nil {
		r.RemoteAddress = host
		r.RemotePort, _ = strconv.Atoi(port)
	}
	if tls := q.HTTP.TLS; tls != nil && len(tls.VerifiedChains) > 0 {
		r.Certificate = tls.VerifiedChains[0][0].SerialNumber.String()
	}
	if q.Role == nil {
		return r
	}
	if _, m, _, _ := q.Locate(); m.Path != "" {
		class := "secret"
		if strings.HasPrefix(m.Path, AuthPath) {
			class = "auth"
		}
		r.Mount = &audit.Mount{Point: m.Path, Type: m.Type, Accessor: m.Accessor, Version: h.running, Class: class}
		r.Plain, q.plainAnswer = m.Config.AuditNonHMACRequestKeys, m.Config.AuditNonHMACResponseKeys
		if credentials[m.Type] {
			r.Guarded, r.Plain, q.plainAnswer = true, nil, nil
		}
	}
	return r
}

// credentials are the mount types whose answers have secrets of this server's own clients: no
// setting shows them in the audit trail.
var credentials = map[string]bool{"xks": true}

// clientID returns an id that is stable for a token and shows nothing of it.
func clientID(accessor string) string {
	if accessor == "" {
		return ""
	}
	var in, out [128]byte
	sum := sha256.Sum256(append(append(in[:0], "sealgate/client\x00"...), accessor...))
	return string(base64.StdEncoding.AppendEncode(out[:0], sum[:]))
}

// auditAuth returns the identity of the client; nil where it is unknown.
func (h *Handler) auditAuth(q *Request, refused error) *audit.Auth {
	who := q.Identity
	if who.DisplayName == "" && len(who.Policies) == 0 {
		return nil
	}
	a := &audit.Auth{
		Token: q.Token, Accessor: who.Accessor, DisplayName: who.DisplayName, Policies: who.Policies,
		TokenPolicies: who.Policies,
		Results:       &audit.PolicyResults{Allowed: refused == nil},
	}
	if refused == nil {
		a.Results.Granting = who.Granting()
	}
	if t := who.Token(); t != nil {
		a.TokenType, a.TTL, a.Issued, a.Metadata = t.Type.String(), t.TTL, t.Created, t.Meta
		if t.Uses > 0 {
			a.RemainingUses = int(t.Uses)
		}
	}
	return a
}

// auditData returns the body, or the query, as JSON. A body that no handler accepts is left out.
func (q *Request) auditData() json.RawMessage {
	switch q.Op {
	case mount.Create, mount.Update, mount.Patch:
		body := bytes.TrimSpace(q.body)
		if len(body) == 0 {
			return nil
		}
		if !isForm(q, body) {
			return q.validJSON(body)
		}
		form, err := parseForm(body, q.Limits)
		if err != nil {
			return nil
		}
		return asJSON(q, form)
	}
	if len(q.Query) == 0 {
		return q.auditDeletion()
	}
	given := map[string]any{}
	for name, values := range q.Query {
		if len(values) == 1 {
			given[name] = values[0]
		} else {
			given[name] = values
		}
	}
	return asJSON(q, given)
}

// auditDeletion returns the body of a deletion, which may name what to cancel.
func (q *Request) auditDeletion() json.RawMessage {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 {
		return nil
	}
	return q.validJSON(body)
}

// validJSON returns a body that can be written to an entry as it is; nil for another one. It
// reserves no memory: an entry must have what the handler gets.
func (q *Request) validJSON(body []byte) json.RawMessage {
	if _, err := checkJSON(body, q.Limits); err != nil || !json.Valid(body) {
		return nil
	}
	return body
}

func asJSON(q *Request, v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // strings and lists of strings always encode
		panic(err)
	}
	return b
}

func (q *Request) auditHeaders(shown []string) map[string][]string {
	var out map[string][]string
	for _, name := range shown {
		if values := q.HTTP.Header.Values(name); len(values) > 0 {
			if out == nil {
				out = map[string][]string{}
			}
			out[name] = values
		}
	}
	return out
}

// auditResponse returns what is about to be answered. Its data is rendered here, once for both the
// trail and the client.
func (q *Request) auditResponse(a *Answer, who *ceremony.Attribution) (*audit.Response, error) {
	r := &audit.Response{
		Listing: q.Op == mount.List || q.Op == mount.Scan, Plain: q.plainAnswer, Transcript: who.Transcript,
	}
	if who.Target != "" {
		r.Share = &audit.Share{Target: who.Target, Number: who.Number, Holder: who.Holder}
	}
	if q.Route.Switch == RekeySwitch || q.Route.Switch == RootSwitch {
		r.Headers = q.Out.Header()
	}
	if a == nil {
		return r, nil
	}
	r.Warnings, r.LeaseID = a.Warnings, a.LeaseID
	r.Auth, r.Wrap = auditMade(a.Auth), auditWrap(a.wrap)
	if _, hidden := a.Data.(Opaque); hidden || a.Data == nil {
		return r, nil
	}
	raw, ok := a.Data.(json.RawMessage)
	if !ok {
		var buf bytes.Buffer
		if err := writeJSON(&buf, a.Data); err != nil {
			return nil, err
		}
		raw = buf.Bytes()
		a.Data = raw
	}
	if !bytes.Equal(raw, []byte("null")) {
		r.Data = raw
	}
	return r, nil
}

// auditMade describes a token that the answer shows.
func auditMade(a *AuthAnswer) *audit.Auth {
	if a == nil {
		return nil
	}
	return &audit.Auth{
		Token: a.ClientToken, Accessor: a.Accessor, Policies: a.Policies, TokenPolicies: a.TokenPolicies,
		Metadata: a.Metadata,
		EntityID: a.EntityID, TokenType: a.TokenType, TTL: time.Duration(a.LeaseDuration) * time.Second,
		NumUses: int(a.NumUses),
	}
}

func auditWrap(w *WrapAnswer) *audit.WrapInfo {
	if w == nil {
		return nil
	}
	created, _ := time.Parse(time.RFC3339Nano, w.CreationTime) // the zero time where it cannot be parsed
	return &audit.WrapInfo{
		Token: w.Token, Accessor: w.Accessor, TTL: time.Duration(w.TTL) * time.Second, Created: created, Path: w.CreationPath,
		WrappedAccessor: w.WrappedAccessor,
	}
}
