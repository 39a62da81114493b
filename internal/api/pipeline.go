package api

import (
	"context"

	"github.com/sealgate/sealgate/recovery"
)

// answer takes a request through the pipeline: route, limits, authorisation, audit, handler, audit.
func (h *Handler) answer(ctx context.Context, q *Request) (*Answer, error) {
	if a, err := h.enter(q); a != nil || err != nil {
		return a, err
	}
	if a := q.redirectClean(); a != nil {
		return a, nil
	}
	if err := h.find(q); err != nil {
		return nil, err
	}
	if err := q.checkHeaders(); err != nil {
		return nil, err
	}
	if err := q.checkLength(); err != nil {
		return nil, err
	}
	defer func() { clear(q.body) }()
	if h.Node != nil && h.Node.Clustered() && q.Route.Access != AlwaysOpen {
		return h.inCluster(ctx, q)
	}
	return h.answerHere(ctx, q)
}

// answerHere lets this node answer.
func (h *Handler) answerHere(ctx context.Context, q *Request) (*Answer, error) {
	h.foldName(q)
	refused := h.limit(ctx, q)
	if refused != nil && !q.auditRefusal {
		return nil, refused
	}
	if refused == nil {
		refused = h.admit(ctx, q)
	}
	if q.Identity.Token() != nil {
		defer q.Role.Tokens().Finish(ctx, q.Identity)
	}
	if refused != nil && q.assumption != nil {
		if err := q.assumption.Check(ctx); err != nil { // a token that it does not know yet
			return nil, err
		}
	}
	switch {
	case h.onRecord(q):
		return h.audited(ctx, q, refused)
	case refused != nil:
		return nil, refused
	}
	return h.handle(ctx, q)
}

// handle runs the route's handler. A refused share is counted afterwards, so that only wrong shares
// use up the limit.
func (h *Handler) handle(ctx context.Context, q *Request) (*Answer, error) {
	if err := h.useGrant(q); err != nil {
		return nil, err
	}
	a, err := q.Route.Handle(ctx, h, q)
	if err := q.held(ctx); err != nil {
		return nil, err
	}
	if err == nil {
		a, err = q.showList(ctx, a)
	}
	if err != nil && q.Route.Shares {
		err = h.countRefusal(q, err)
	}
	if a != nil && q.Data != nil {
		a.Warnings = append(a.Warnings, h.ignored(q)...)
	}
	if err != nil || q.WrapTTL == 0 {
		return a, err
	}
	return h.wrap(ctx, q, a)
}

// find parses the request and finds its route.
func (h *Handler) find(q *Request) error {
	if err := q.parse(); err != nil {
		return err
	}
	if q.help {
		q.Route = h.help
		return nil
	}
	if err := h.routes.find(q, h.login); err != nil {
		return err
	}
	if err := q.canonicalize(); err != nil {
		return err
	}
	if err := q.checkOrigin(); err != nil {
		return err
	}
	return h.checkSwitch(q)
}

// checkSwitch applies the settings of the listener and the server. A path that is switched off is
// answered as by a server without it; a path that is opened needs no token.
func (h *Handler) checkSwitch(q *Request) error {
	open := false
	switch q.Route.Switch {
	case RekeySwitch:
		if h.DisableUnauthRekey && q.Route.Target == recovery.Recovery {
			return ErrNoPath
		}
		if h.DisableUnauthRekey {
			return ErrUnsupported
		}
	case RootSwitch:
		if h.DisableUnauthRoot {
			return ErrUnsupported
		}
	case RawSwitch:
		if !h.RawStorage {
			q.Route = &nothing
		}
	case MetricsSwitch:
		if h.Front.DisallowMetrics {
			return ErrNoPath
		}
		open = h.Front.OpenMetrics
	case InFlightSwitch:
		open = h.Front.OpenInFlight
	case ProfileSwitch:
		open = h.Front.OpenProfiles
	}
	if open {
		q.Route = h.routes.open[q.Route]
	}
	return nil
}
