package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// unaudited reports whether a request is not audited: what an unauthenticated client may read at
// any time. Contract 9.2.
func (q *Request) unaudited() bool { return q.Route.Access == AlwaysOpen && q.Op == mount.Read }

// onRecord reports whether a request is audited: a device exists, or the request may enable the
// first one.
func (h *Handler) onRecord(q *Request) bool {
	return h.Trail != nil && (h.Trail.Enabled() || q.Route.Audit == AuditDevices) && !q.unaudited()
}

// audited runs the handler between two entries of the audit trail. If the first cannot be written,
// nothing happens; if the second cannot, the client does not learn what happened. refused is why
// the request is refused, or nil: attempts are audited, too.
func (h *Handler) audited(ctx context.Context, q *Request, refused error) (*Answer, error) {
	if refused != nil && !fault.Is(refused, fault.Denied) && !fault.Is(refused, fault.Limited) {
		return nil, refused // nothing was done: the node is sealed, or the body is malformed
	}
	rec := h.Trail.Begin(h.auditRequest(q), h.auditAuth(q, refused))
	if refused == nil && q.onlyReads() {
		return h.readAudited(ctx, q, rec)
	}
	unrecorded := false
	if err := rec.Request(h.auditText(q, refused)); err != nil {
		if refused != nil || !h.mayChangeDeadDevices(q, err) {
			return nil, auditFault(err, nothingDone)
		}
		if err := h.recordElsewhere(ctx, q); err != nil {
			return nil, auditFault(err, nothingDone)
		}
		unrecorded = true
	}
	if refused != nil {
		if err := rec.Response(nil, h.auditText(q, refused)); err != nil {
			return nil, auditFault(err, nothingDone)
		}
		return nil, refused
	}
	var who ceremony.Attribution
	if q.Route.Guarded {
		ctx = ceremony.WithAttribution(ctx, &who)
	}
	done := false
	q.AuditDone = func() error {
		done = true
		return rec.Response(&audit.Response{}, "")
	}
	a, err := h.handle(ctx, q)
	if q.Route.Audit == AuditRequest || done && err == nil {
		return a, err
	}
	reply, failed := q.auditResponse(a, &who)
	if failed == nil {
		failed = rec.Response(reply, h.auditText(q, err))
	}
	switch {
	case failed != nil && unrecorded: // as the request; the log and the transcript have both
		h.Log.Warn("the answer of a change of audit devices is in no audit log", "request_id", q.ID(), "error", failed)
	case failed != nil && q.Sent: // it was sent while it was made
		h.Log.Error("an answer that was sent could not be audited", "request_id", q.ID(), "path", q.Path, "error", failed)
	case failed != nil:
		return nil, auditFault(failed, "the answer cannot be audited, so it is withheld; the request may have taken effect")
	}
	return a, err
}

const nothingDone = "the request cannot be audited, so nothing was done"

// stores are the mount types whose reads change nothing.
var stores = map[string]bool{"kv": true, "generic": true, "cubbyhole": true}

// onlyReads reports whether the request has no effect but its answer.
func (q *Request) onlyReads() bool {
	if q.Route.Access == ByMethod || !q.Route.Mount || q.WrapTTL != 0 ||
		q.Op != mount.Read && q.Op != mount.List && q.Op != mount.Scan {
		return false
	}
	_, m, _, err := q.Locate()
	return err == nil && stores[m.Type]
}

// readAudited answers a request that has no effect: both entries are written before the answer is
// sent, in one go.
func (h *Handler) readAudited(ctx context.Context, q *Request, rec *audit.Record) (*Answer, error) {
	rec.Defer()
	defer func() {
		if err := rec.Abandon(); err != nil {
			h.Log.Error("a request that failed could not be audited", "request_id", q.ID(), "path", q.Path, "error", err)
		}
	}()
	a, err := h.handle(ctx, q)
	if errors.Is(err, ha.ErrStale) {
		rec.Withdraw()
		return nil, err
	}
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
		return fault.Wrap(err, fault.Sealed, TextSealed)
	}
	return fault.Wrap(err, fault.Internal, "%s", text)
}

// mayChangeDeadDevices reports whether a request may be carried out although no audit device took
// its entry: a root token may add or remove a device, which is the way out where all have failed.
func (h *Handler) mayChangeDeadDevices(q *Request, err error) bool {
	_, all := h.Trail.Failing()
	return all && errors.Is(err, audit.ErrUnwritten) && q.Route.Audit == AuditDevices && q.Identity.Root
}

// recordElsewhere records in the log and the transcript what no audit device can record.
func (h *Handler) recordElsewhere(ctx context.Context, q *Request) error {
	list, _ := h.Trail.Failing()
	var failing []string
	for _, f := range list {
		failing = append(failing, f.Path)
	}
	h.Log.Warn("no audit device accepts entries, and a root token changes the devices: the audit logs lack this request",
		"request_id", q.ID(), "operation", q.Op.String(), "path", q.Path, "accessor", q.Identity.Accessor,
		"display_name", q.Identity.DisplayName, "client_address", q.HTTP.RemoteAddr, "failing", failing)
	return ceremony.RecordAct(ctx, h.Node.Ceremonies(), transcript.Record{
		Purpose: "audit-devices", StartedBy: q.Identity.DisplayName, StartedAccessor: q.Identity.Accessor,
		Reason: fmt.Sprintf("%s %.200q while no audit device accepted entries", q.Op, q.Path),
	})
}
