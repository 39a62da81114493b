package api

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/recovery"
)

// limit refuses requests of clients that exceed a quota, with a token or without. It fails closed:
// where the quotas cannot be read, only paths that are exempt by default are answered.
func (h *Handler) limit(ctx context.Context, q *Request) error {
	if h.Node == nil {
		return nil
	}
	role, err := h.roleFor(q)
	if err != nil {
		return nil // a sealed node has no quotas; its answers are cheap
	}
	s, err := h.Shared.Settings.Get(ctx, role)
	if err != nil {
		if limits.Exempts(limits.DefaultExempt(), q.Path) {
			return nil
		}
		return fault.Wrap(err, fault.Unavailable,
			"the quotas cannot be read, so the request is refused; the server's log has the cause under request id %s", q.ID())
	}
	if len(s.Quotas) == 0 || limits.Exempts(s.QuotaConfig.Exempt, q.Path) {
		return nil
	}
	quota := limits.Closest(s.Quotas, q.Path)
	if quota == nil {
		return nil
	}
	left, wait := h.Shared.quotas.Take(s, quota, limits.Client(q.HTTP.RemoteAddr), h.Now())
	if header := q.Out.Header(); s.QuotaConfig.Headers {
		header.Set("X-Ratelimit-Limit", strconv.FormatFloat(quota.Rate, 'f', -1, 64))
		header.Set("X-Ratelimit-Remaining", strconv.Itoa(left))
		header.Set("X-Ratelimit-Reset", strconv.Itoa(wholeSeconds(wait)))
	}
	if wait <= 0 {
		return nil
	}
	h.Shared.refused.Inc()
	q.auditRefusal = s.QuotaConfig.Audit && h.Trail != nil && h.Trail.Enabled()
	q.Out.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(wait)))
	return fault.New(fault.Limited, "request path %q: rate limit quota exceeded", q.Path)
}

// LimitStart refuses to start a ceremony for a client without a token that has started too many.
func (h *Handler) LimitStart(q *Request) error {
	if q.Identity.Token() != nil {
		return nil
	}
	wait := h.Shared.Starts.Take(limits.Client(q.HTTP.RemoteAddr), h.Now())
	if wait == 0 {
		return nil
	}
	q.Out.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(wait)))
	return fault.New(fault.Limited, "too many operations were started without a token: wait %d s, or use a token",
		wholeSeconds(wait))
}

// wholeSeconds rounds up, as Retry-After needs it.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// countRefusal counts a refused share, and returns what the client gets. Errors that are not the
// request's fault do not count, nor does a right share that was given twice.
func (h *Handler) countRefusal(q *Request, err error) error {
	var refusal *fault.Error
	if !errors.As(err, &refusal) || refusal.Kind != fault.Invalid || errors.Is(err, recovery.ErrShareRepeated) {
		return err
	}
	wait := h.Refusals.Count(limits.Client(q.HTTP.RemoteAddr), q.Route.Path)
	if wait == 0 {
		return err
	}
	q.Out.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(wait)))
	return fault.Wrap(err, fault.Limited, "%s; too many shares were refused here: wait %d s before the next try. "+
		"A right share is accepted at any time", refusal.Message, wholeSeconds(wait))
}
