package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth"
)

// mountRoutes are those of the table of mounts, and of the storage below all of them.
var mountRoutes = []route{
	{get, "sys/mounts", noBody, withToken, auth.Read, false, doubleStyle, here, (*handler).mounts},
	{get, "sys/mounts/*", noBody, withToken, auth.Read, false, doubleStyle, here, (*handler).mount},
	{write, "sys/mounts/*", smallBody, withToken, auth.Update, false, doubleStyle, 0, (*handler).enableMount},
	{remove, "sys/mounts/*", noBody, withToken, auth.Delete, false, doubleStyle, 0, (*handler).disableMount},
	{write, "sys/remount", smallBody, withToken, auth.Update, true, doubleStyle, 0, (*handler).remount},
	{get, "sys/remount/status/*", noBody, withToken, auth.Read, false, envelopeStyle, 0, (*handler).remountStatus},
	{get, "sys/internal/ui/mounts", noBody, anybody, 0, false, envelopeStyle, here, (*handler).visibleMounts},
	{get, "sys/internal/ui/mounts/*", noBody, anybody, 0, false, envelopeStyle, here, (*handler).preflight},

	{get, "sys/raw/*", noBody, withToken, auth.Read, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawRead)},
	{listing, "sys/raw", noBody, withToken, auth.List, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawList)},
	{listing, "sys/raw/*", noBody, withToken, auth.List, true, envelopeStyle, lifecycle | rawEndpoint, raw((*handler).rawList)},
	{write, "sys/raw/*", anyBody, withToken, auth.Update, true, envelopeStyle, lifecycle | rawEndpoint, silent(raw((*handler).rawWrite))},
	{remove, "sys/raw/*", noBody, withToken, auth.Delete, true, envelopeStyle, lifecycle | rawEndpoint, silent(raw((*handler).rawDelete))},
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
