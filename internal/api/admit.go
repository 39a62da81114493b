package api

import (
	"context"
	"net/http"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// admit authorises a request and reads its body. Where a token is needed, nothing is read before
// the token is known: an unauthenticated client cannot fill the memory.
func (h *Handler) admit(ctx context.Context, q *Request) error {
	switch q.Route.Access {
	case AlwaysOpen:
		return q.readBody()
	case RecoveryToken:
		return h.admitRecovery(q)
	}
	active, err := h.roleFor(q)
	if err != nil {
		if q.Route.Access == TokenUnlessSealed && fault.Is(err, fault.Sealed) {
			return nil
		}
		return err
	}
	q.Role = active
	if q.Route.Access == Open || q.IsLogin() {
		if err := q.readBody(); err != nil || !q.Route.Unwraps {
			return err
		}
		return h.admitUnwrap(ctx, q)
	}
	q.ReadToken()
	begun := time.Now()
	asked, ended := begun, time.Time{} // asking for the time costs as much as some of what is measured
	defer func() {
		if ended.IsZero() {
			ended = time.Now()
		}
		h.Shared.checked.Observe(ended.Sub(begun))
	}()
	if q.Route.Access == OptionalToken {
		if err := q.recognise(ctx); err != nil {
			return err
		}
		return q.readBody()
	}
	if q.hasBody() || writesToMount(q) {
		// The full check needs the body, and whether the entry exists. Until then a known token is
		// enough.
		if _, err := active.Tokens().Bearer(ctx, q.Token, q.HTTP.RemoteAddr); err != nil {
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
	if q.bodyRead {
		asked = time.Now()
	}
	q.Identity, err = active.Tokens().Authorize(ctx, q.Token, need)
	ended = time.Now()
	h.Shared.fetched.Observe(ended.Sub(asked))
	q.authentic = err == nil
	if err != nil {
		return err
	}
	return q.boundList()
}

// recognise finds out who asks. A client whose token is missing, expired or not allowed counts as
// unauthenticated: command lines send whatever token they find in a file.
func (q *Request) recognise(ctx context.Context) error {
	who, err := q.Role.Tokens().Authorize(ctx, q.Token, token.Need{Path: q.Path, Capability: q.Route.Capability,
		Remote: q.HTTP.RemoteAddr})
	switch {
	case err == nil:
		q.Identity, q.authentic = who, true
	case !fault.Is(err, fault.Denied):
		return err
	}
	return nil
}

func writesToMount(q *Request) bool {
	return q.Route.Mount && q.Op == mount.Update
}

// capabilities are what the operations need.
var capabilities = [...]policy.Capability{
	mount.Read: policy.Read, mount.List: policy.List, mount.Create: policy.Create, mount.Update: policy.Update,
	mount.Patch: policy.Patch, mount.Delete: policy.Delete, mount.Scan: policy.Scan,
}

// need returns what the token must be allowed. A write is a create where the mount's backend says
// that the entry is absent.
func (q *Request) need(ctx context.Context) (token.Need, error) {
	need := token.Need{Fold: q.fold, Path: q.Path, Capability: q.Route.Capability, Sudo: q.Route.Sudo, Parameters: q,
		Remote: q.HTTP.RemoteAddr, WrapTTL: q.WrapTTL}
	if exists := q.Route.Exists; exists != nil && q.Op == mount.Update {
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
	if writesToMount(q) {
		if backend, _, rest, err := q.Locate(); err == nil {
			exists, err := q.exists(ctx, backend, rest)
			if err != nil {
				return need, err
			}
			if !exists {
				q.Op = mount.Create
			}
		}
	}
	need.Capability = capabilities[q.Op]
	return need, nil
}

// exists asks a backend that distinguishes create from update, and keeps what it found.
func (q *Request) exists(ctx context.Context, backend mount.Backend, path string) (exists bool, err error) {
	switch b := backend.(type) {
	case mount.Finder:
		exists, q.mounted.found, err = b.Find(ctx, path)
		return exists, err
	case mount.ExistenceChecker:
		return b.Exists(ctx, path)
	}
	return true, nil
}

// admitRecovery compares the token before any of the body is read.
func (h *Handler) admitRecovery(q *Request) error {
	q.ReadToken()
	raw, err := h.Recovery.Raw(q.Token)
	if fault.Is(err, fault.Denied) {
		return bare(http.StatusForbidden)
	}
	if err != nil {
		return err
	}
	q.Raw = raw
	return q.readBody()
}
