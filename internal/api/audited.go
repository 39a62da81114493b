package api

import (
	"bytes"
	"context"
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
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// unaudited reports whether a request leaves no trace: what anybody may look at at any time, and what shows nothing that is not
// shown to monitoring. Contract 9.2.
func (q *request) unaudited() bool { return q.route.Access == anybodyAlways && q.op == mount.Read }

// onRecord reports whether a request is audited: where there is a device, or may be one when it is over.
func (h *handler) onRecord(q *request) bool {
	return h.Trail != nil && (h.Trail.Enabled() || q.route.Audit == auditDevices) && !q.unaudited()
}

// audited is the handler between two entries of the audit trail. Where the first cannot be written nothing happens; where the
// second cannot, the client does not learn what happened. refused is why the request was not let in, or nil: that somebody tried
// is on record too.
func (h *handler) audited(ctx context.Context, q *request, refused error) (*answer, error) {
	if refused != nil && !fault.Is(refused, fault.Denied) && !fault.Is(refused, fault.Limited) {
		return nil, refused // it was not looked at, and did nothing: the node is sealed, or the body broken
	}
	rec := h.Trail.Begin(h.auditRequest(q), h.auditAuth(q, refused))
	if refused == nil && q.onlyReads() {
		return h.readAudited(ctx, q, rec)
	}
	if err := rec.Request(h.auditText(q, refused)); err != nil {
		return nil, auditFault(err, nothingDone)
	}
	if refused != nil {
		if err := rec.Response(nil, h.auditText(q, refused)); err != nil {
			return nil, auditFault(err, nothingDone)
		}
		return nil, refused
	}
	var who ceremony.Attribution
	if q.route.Guarded {
		ctx = ceremony.WithAttribution(ctx, &who)
	}
	a, err := h.handle(ctx, q)
	if q.route.Audit == auditRequest {
		return a, err
	}
	reply, failed := q.auditResponse(a, &who)
	if failed == nil {
		failed = rec.Response(reply, h.auditText(q, err))
	}
	switch {
	case failed != nil && q.sent: // it went out as it came: the log of the server itself
		h.Log.Error("an answer that was sent could not be audited", "request_id", q.id(), "path", q.path, "error", failed)
	case failed != nil:
		return nil, auditFault(failed, "the answer cannot be audited, so it is withheld; the request may have taken effect")
	}
	return a, err
}

const nothingDone = "the request cannot be audited, so nothing was done"

// stores are the mounts whose reads change nothing.
var stores = map[string]bool{"kv": true, "cubbyhole": true}

// onlyReads reports whether the answer is all there is to a request.
func (q *request) onlyReads() bool {
	if q.route.Access == asMethod || !q.route.Mount || q.wrapTTL != 0 || q.op != mount.Read && q.op != mount.List && q.op != mount.Scan {
		return false
	}
	_, m, _, err := q.locate()
	return err == nil && stores[m.Type]
}

// readAudited reads what has no effect but its answer: both entries are written before that, at once.
func (h *handler) readAudited(ctx context.Context, q *request, rec *audit.Record) (*answer, error) {
	rec.Defer()
	defer func() {
		if err := rec.Abandon(); err != nil {
			h.Log.Error("a request that failed could not be audited", "request_id", q.id(), "path", q.path, "error", err)
		}
	}()
	a, err := h.handle(ctx, q)
	reply, failed := q.auditResponse(a, &ceremony.Attribution{})
	if failed == nil {
		failed = rec.Response(reply, h.auditText(q, err))
	}
	if failed != nil {
		return nil, auditFault(failed, nothingDone)
	}
	return a, err
}

func auditFault(err error, text string) error {
	if errors.Is(err, audit.ErrSealed) {
		return fault.Wrap(err, fault.Sealed, textSealed)
	}
	return fault.Wrap(err, fault.Internal, "%s", text)
}

// auditText is what the trail has of an error: what the client is told.
func (h *handler) auditText(q *request, err error) string {
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

func (h *handler) auditRequest(q *request) *audit.Request {
	r := &audit.Request{
		ID: q.id(), Operation: q.op.String(), Path: q.path, Token: q.token, Accessor: q.identity.Accessor, ClientID: clientID(q.identity.Accessor),
		Data: q.auditData(), Headers: q.auditHeaders(h.Trail.Headers()), Guarded: q.route.Guarded, WrapTTL: q.wrapTTL,
	}
	if rest, ok := strings.CutPrefix(q.url, "/v1/"); !ok || rest != q.path {
		r.URI = q.url
	}
	host, port, err := net.SplitHostPort(q.http.RemoteAddr)
	if err == nil {
		r.RemoteAddress = host
		r.RemotePort, _ = strconv.Atoi(port)
	}
	if tls := q.http.TLS; tls != nil && len(tls.VerifiedChains) > 0 {
		r.Certificate = tls.VerifiedChains[0][0].SerialNumber.String()
	}
	if q.state == nil {
		return r
	}
	if _, m, _, _ := q.locate(); m.Path != "" {
		class := "secret"
		if strings.HasPrefix(m.Path, authPath) {
			class = "auth"
		}
		r.Mount = &audit.Mount{Point: m.Path, Type: m.Type, Accessor: m.Accessor, Version: h.running, Class: class}
		r.Plain, q.plainAnswer = m.Config.AuditNonHMACRequestKeys, m.Config.AuditNonHMACResponseKeys
	}
	return r
}

// clientID is stable for a token, and tells nothing about it.
func clientID(accessor string) string {
	if accessor == "" {
		return ""
	}
	var in, out [128]byte
	sum := sha256.Sum256(append(append(in[:0], "sealgate/client\x00"...), accessor...))
	return string(base64.StdEncoding.AppendEncode(out[:0], sum[:]))
}

// auditAuth is who asks; nil where nobody is known.
func (h *handler) auditAuth(q *request, refused error) *audit.Auth {
	who := q.identity
	if who.DisplayName == "" && len(who.Policies) == 0 {
		return nil
	}
	a := &audit.Auth{
		Token: q.token, Accessor: who.Accessor, DisplayName: who.DisplayName, Policies: who.Policies, TokenPolicies: who.Policies,
		Results: &audit.PolicyResults{Allowed: refused == nil},
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

// auditData is the body, or the query, as JSON. A body that no handler would take is left out.
func (q *request) auditData() json.RawMessage {
	switch q.op {
	case mount.Create, mount.Update, mount.Patch:
		body := bytes.TrimSpace(q.body)
		if len(body) == 0 {
			return nil
		}
		if !q.isForm(body) {
			if checkJSON(body, q.limits) != nil || !json.Valid(body) {
				return nil
			}
			return body
		}
		form, err := parseForm(body, q.limits)
		if err != nil {
			return nil
		}
		return q.asJSON(form)
	}
	if len(q.query) == 0 {
		return q.auditDeletion()
	}
	given := map[string]any{}
	for name, values := range q.query {
		if len(values) == 1 {
			given[name] = values[0]
		} else {
			given[name] = values
		}
	}
	return q.asJSON(given)
}

// auditDeletion is the body of a deletion, which may name what is to be cancelled.
func (q *request) auditDeletion() json.RawMessage {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 || checkJSON(body, q.limits) != nil || !json.Valid(body) {
		return nil
	}
	return body
}

func (q *request) asJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // texts and lists of texts always encode
		panic(err)
	}
	return b
}

func (q *request) auditHeaders(shown []string) map[string][]string {
	var out map[string][]string
	for _, name := range shown {
		if values := q.http.Header.Values(name); len(values) > 0 {
			if out == nil {
				out = map[string][]string{}
			}
			out[name] = values
		}
	}
	return out
}

// auditResponse is what is about to be answered. Its data is rendered here, once for the trail and the client.
func (q *request) auditResponse(a *answer, who *ceremony.Attribution) (*audit.Response, error) {
	r := &audit.Response{Listing: q.op == mount.List || q.op == mount.Scan, Plain: q.plainAnswer}
	if who.Target != "" {
		r.Share = &audit.Share{Target: who.Target, Number: who.Number, Holder: who.Holder}
	}
	if q.route.Switch == rekeySwitch || q.route.Switch == rootSwitch {
		r.Headers = q.out.Header()
	}
	if a == nil {
		return r, nil
	}
	r.Warnings, r.LeaseID = a.warnings, a.leaseID
	r.Auth, r.Wrap = auditMade(a.auth), auditWrap(a.wrap)
	if _, hidden := a.data.(opaque); hidden || a.data == nil {
		return r, nil
	}
	raw, ok := a.data.(json.RawMessage)
	if !ok {
		var buf bytes.Buffer
		if err := writeJSON(&buf, a.data); err != nil {
			return nil, err
		}
		raw = buf.Bytes()
		a.data = raw
	}
	if !bytes.Equal(raw, []byte("null")) {
		r.Data = raw
	}
	return r, nil
}

// auditMade is a token that the answer hands out.
func auditMade(a *authAnswer) *audit.Auth {
	if a == nil {
		return nil
	}
	return &audit.Auth{
		Token: a.ClientToken, Accessor: a.Accessor, Policies: a.Policies, TokenPolicies: a.TokenPolicies, Metadata: a.Metadata,
		EntityID: a.EntityID, TokenType: a.TokenType, TTL: time.Duration(a.LeaseDuration) * time.Second, NumUses: int(a.NumUses),
	}
}

func auditWrap(w *wrapAnswer) *audit.WrapInfo {
	if w == nil {
		return nil
	}
	created, _ := time.Parse(time.RFC3339Nano, w.CreationTime) // the zero time where it is none
	return &audit.WrapInfo{
		Token: w.Token, Accessor: w.Accessor, TTL: time.Duration(w.TTL) * time.Second, Created: created, Path: w.CreationPath,
		WrappedAccessor: w.WrappedAccessor,
	}
}
