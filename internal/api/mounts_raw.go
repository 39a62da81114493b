package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

// mountRoutes are those of the table of mounts, and of the storage below all of them.
var mountRoutes = []route{
	{get, "sys/mounts", noBody, withToken, policy.Read, false, doubleStyle, here, (*handler).mounts},
	{get, "sys/mounts/*", noBody, withToken, policy.Read, false, doubleStyle, here, (*handler).mount},
	{write, "sys/mounts/*", smallBody, withToken, policy.Update, false, doubleStyle, 0, (*handler).enableMount},
	{remove, "sys/mounts/*", noBody, withToken, policy.Delete, false, doubleStyle, 0, (*handler).disableMount},
	{write, "sys/remount", smallBody, withToken, policy.Update, true, doubleStyle, 0, (*handler).remount},
	{get, "sys/remount/status/*", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).remountStatus},
	{get, "sys/internal/ui/mounts", noBody, anybody, 0, false, envelopeStyle, here, (*handler).visibleMounts},
	{get, "sys/internal/ui/mounts/*", noBody, anybody, 0, false, envelopeStyle, here, (*handler).preflight},

	{get, "sys/raw/*", noBody, withToken, policy.Read, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawRead)},
	{listing, "sys/raw", noBody, withToken, policy.List, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawList)},
	{listing, "sys/raw/*", noBody, withToken, policy.List, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawList)},
	{write, "sys/raw/*", anyBody, withToken, policy.Update, true, envelopeStyle, lifecycle | rawEndpoint, silent(raw((*handler).rawWrite))},
	{remove, "sys/raw/*", noBody, withToken, policy.Delete, true, envelopeStyle, lifecycle | rawEndpoint, silent(raw((*handler).rawDelete))},
}

// raw has a handler of recovery mode work on the storage of a node that serves.
func raw(f handle) handle {
	return func(h *handler, ctx context.Context, q *request) (*answer, error) {
		q.raw = q.state.Raw()
		return f(h, ctx, q)
	}
}

// silent is for writes of which nothing is told: 204.
func silent(f handle) handle {
	return func(h *handler, ctx context.Context, q *request) (*answer, error) {
		_, err := f(h, ctx, q)
		return nil, err
	}
}
