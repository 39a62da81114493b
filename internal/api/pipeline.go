package api

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/recovery"
)

// answer takes a request the one way there is: route, limits, authorisation, audit, handler, audit.
func (h *handler) answer(ctx context.Context, q *request) (*answer, error) {
	if a, err := h.enter(q); a != nil || err != nil {
		return a, err
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
	if h.Node != nil && h.Node.Clustered() && q.route.Access != anybodyAlways {
		return h.inCluster(ctx, q)
	}
	return h.answerHere(ctx, q)
}

// answerHere lets this node answer.
func (h *handler) answerHere(ctx context.Context, q *request) (*answer, error) {
	refused := h.limit(ctx, q)
	if refused != nil && !q.limitOnRecord {
		return nil, refused
	}
	if refused == nil {
		refused = h.admit(ctx, q)
	}
	if q.identity.Token() != nil {
		defer q.state.Tokens().Finish(ctx, q.identity)
	}
	switch {
	case h.onRecord(q):
		return h.audited(ctx, q, refused)
	case refused != nil:
		return nil, refused
	}
	return h.handle(ctx, q)
}

// handle lets the route's handler answer. Where shares are taken from anybody, a refusal is counted afterwards, so that it is
// the wrong ones that pay.
func (h *handler) handle(ctx context.Context, q *request) (*answer, error) {
	a, err := q.route.Handle(h, ctx, q)
	if err := q.held(); err != nil {
		return nil, err
	}
	if err == nil {
		a, err = q.showList(ctx, a)
	}
	if err != nil && q.route.Shares {
		err = h.countRefusal(q, err)
	}
	if a != nil && q.data != nil {
		a.warnings = append(a.warnings, h.ignored(q)...)
	}
	if err != nil || q.wrapTTL == 0 {
		return a, err
	}
	return h.wrap(ctx, q, a)
}

// find parses the request and finds its route.
func (h *handler) find(q *request) error {
	if err := q.parse(); err != nil {
		return err
	}
	if q.help {
		q.route = h.help
		return nil
	}
	if err := h.routes.find(q, h.login); err != nil {
		return err
	}
	return h.checkSwitch(q)
}

// checkSwitch applies the settings of the listener and the server. A path that is switched off is answered as a
// server without it would; one that is open needs no token.
func (h *handler) checkSwitch(q *request) error {
	open := false
	switch q.route.Switch {
	case rekeySwitch:
		if h.DisableUnauthRekey && q.route.Target == recovery.Recovery {
			return errNoPath
		}
		if h.DisableUnauthRekey {
			return errUnsupported
		}
	case rootSwitch:
		if h.DisableUnauthRoot {
			return errUnsupported
		}
	case rawSwitch:
		if !h.RawStorage {
			q.route = &nothing
		}
	case metricsSwitch:
		if h.Front.DisallowMetrics {
			return errNoPath
		}
		open = h.Front.OpenMetrics
	case inFlightSwitch:
		open = h.Front.OpenInFlight
	case profileSwitch:
		open = h.Front.OpenProfiles
	}
	if open {
		q.route = h.routes.open[q.route]
	}
	return nil
}

// admit lets a request in, or not, and reads its body. Nothing is read for who has no token where one is needed: nobody fills our
// memory without one.
func (h *handler) admit(ctx context.Context, q *request) error {
	switch q.route.Access {
	case anybodyAlways:
		return q.readBody()
	case withRecoveryToken:
		return h.admitRecovery(q)
	}
	active, err := h.roleFor(q)
	if err != nil {
		if q.route.Access == withTokenUnlessSealed && fault.Is(err, fault.Sealed) {
			return nil
		}
		return err
	}
	q.state = active
	if q.route.Access == anybody || q.open() {
		if err := q.readBody(); err != nil || !q.route.Unwraps {
			return err
		}
		return h.admitUnwrap(ctx, q)
	}
	q.readToken()
	begun := time.Now()
	defer func() { h.Shared.checked.Observe(time.Since(begun)) }()
	if q.route.Access == tokenIfAny {
		if err := q.recognise(ctx); err != nil {
			return err
		}
		return q.readBody()
	}
	if q.hasBody() || q.writesToMount() {
		// The full answer needs the body, and whether the entry exists: known tokens only get that far.
		if _, err := active.Tokens().Identify(ctx, q.token); err != nil {
			return err
		}
		q.authentic = true
		if err := q.readBody(); err != nil {
			return err
		}
	}
	need, err := q.need(ctx)
	if err != nil {
		return err
	}
	asked := time.Now()
	q.identity, err = active.Tokens().Authorize(ctx, q.token, need)
	h.Shared.fetched.Observe(time.Since(asked))
	q.authentic = err == nil
	if err != nil {
		return err
	}
	return q.boundList()
}

// recognise finds out who asks. Who has no token, or one that may not do this, goes on as nobody: command lines send the token
// that they find in a file, however old it is.
func (q *request) recognise(ctx context.Context) error {
	who, err := q.state.Tokens().Authorize(ctx, q.token, token.Need{Path: q.path, Capability: q.route.Capability, Remote: q.http.RemoteAddr})
	switch {
	case err == nil:
		q.identity, q.authentic = who, true
	case !fault.Is(err, fault.Denied):
		return err
	}
	return nil
}

func (q *request) writesToMount() bool {
	return q.route.Mount && q.op == mount.Update
}

// capabilities are those that the operations need.
var capabilities = [...]policy.Capability{
	mount.Read: policy.Read, mount.List: policy.List, mount.Create: policy.Create, mount.Update: policy.Update,
	mount.Patch: policy.Patch, mount.Delete: policy.Delete, mount.Scan: policy.Scan,
}

// need is what the token must be allowed. A write becomes a create where the mount's backend says that nothing is there.
func (q *request) need(ctx context.Context) (token.Need, error) {
	need := token.Need{Path: q.path, Capability: q.route.Capability, Sudo: q.route.Sudo, Parameters: q, Remote: q.http.RemoteAddr, WrapTTL: q.wrapTTL}
	if exists := q.route.Exists; exists != nil && q.op == mount.Update {
		there, err := exists(ctx, q)
		if err != nil {
			return need, err
		}
		if !there {
			need.Capability = policy.Create
		}
	}
	if need.Capability != 0 {
		return need, nil
	}
	if q.writesToMount() {
		if backend, _, rest, err := q.locate(); err == nil {
			if e, ok := backend.(mount.ExistenceChecker); ok {
				exists, err := e.Exists(ctx, rest)
				if err != nil {
					return need, err
				}
				if !exists {
					q.op = mount.Create
				}
			}
		}
	}
	need.Capability = capabilities[q.op]
	return need, nil
}
