package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

// mountRoutes are those of the table of mounts, and of the storage below all of them.
var mountRoutes = []route{
	{Methods: get, Path: "sys/mounts", Capability: policy.Read, Style: doubleStyle, Here: true,
		Handle: (*handler).mounts},
	{Methods: get, Path: "sys/mounts/*", Capability: policy.Read, Style: doubleStyle, Here: true,
		Handle: (*handler).mount},
	{Methods: write, Path: "sys/mounts/*", Body: smallBody, Capability: policy.Update, Style: doubleStyle,
		Handle: (*handler).enableMount},
	{Methods: remove, Path: "sys/mounts/*", Capability: policy.Delete, Style: doubleStyle,
		Handle: (*handler).disableMount},
	{Methods: write, Path: "sys/remount", Body: smallBody, Capability: policy.Update, Sudo: true, Style: doubleStyle,
		Handle: (*handler).remount},
	{Methods: get, Path: "sys/remount/status/*", Capability: policy.Read, Handle: (*handler).remountStatus},
	{Methods: get, Path: "sys/internal/ui/mounts", Access: anybody, Here: true, Handle: (*handler).visibleMounts},
	{Methods: get, Path: "sys/internal/ui/mounts/*", Access: anybody, Here: true, Handle: (*handler).preflight},
}

// rawRoutes open the storage below all mounts.
var rawRoutes = []route{
	{Methods: get, Path: "sys/raw/*", Capability: policy.Read, Sudo: true, Lifecycle: true, Switch: rawSwitch,
		Guarded: true, Handle: raw((*handler).rawRead)},
	{Methods: listing, Path: "sys/raw", Capability: policy.List, Sudo: true, Lifecycle: true, Switch: rawSwitch,
		Guarded: true, Handle: raw((*handler).rawList)},
	{Methods: listing, Path: "sys/raw/*", Capability: policy.List, Sudo: true, Lifecycle: true, Switch: rawSwitch,
		Guarded: true, Handle: raw((*handler).rawList)},
	{Methods: write, Path: "sys/raw/*", Body: anyBody, Capability: policy.Update, Sudo: true, Lifecycle: true,
		Switch: rawSwitch, Guarded: true, Handle: silent(raw((*handler).rawWrite))},
	{Methods: remove, Path: "sys/raw/*", Capability: policy.Delete, Sudo: true, Lifecycle: true, Switch: rawSwitch,
		Guarded: true, Handle: silent(raw((*handler).rawDelete))},
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
