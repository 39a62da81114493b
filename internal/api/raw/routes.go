package raw

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/ceremonies"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/recovery"
)

// rawRoutes give access to the storage below all mounts. Each call needs a quorum of shares: what
// is there belongs to everybody who has a secret here.
var rawRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/raw/*", Capability: policy.Read, Sudo: true, Lifecycle: true, Switch: api.RawSwitch,
		Guarded: true, Quorum: recovery.PurposeAuthorizeRaw, Handle: raw(rawRead)},
	{Methods: api.Listing, Path: "sys/raw", Capability: policy.List, Sudo: true, Lifecycle: true, Switch: api.RawSwitch,
		Guarded: true, Quorum: recovery.PurposeAuthorizeRaw, Handle: raw(rawList)},
	{Methods: api.Listing, Path: "sys/raw/*", Capability: policy.List, Sudo: true, Lifecycle: true, Switch: api.RawSwitch,
		Guarded: true, Quorum: recovery.PurposeAuthorizeRaw, Handle: raw(rawList)},
	{Methods: api.Write, Path: "sys/raw/*", Body: api.AnyBody, Capability: policy.Update, Sudo: true, Lifecycle: true,
		Switch: api.RawSwitch, Guarded: true, Quorum: recovery.PurposeAuthorizeRaw, Handle: silent(raw(rawWrite))},
	{Methods: api.Remove, Path: "sys/raw/*", Capability: policy.Delete, Sudo: true, Lifecycle: true, Switch: api.RawSwitch,
		Guarded: true, Quorum: recovery.PurposeAuthorizeRaw, Handle: silent(raw(rawDelete))},
}

// raw lets a handler of recovery mode work on the storage of an unsealed node.
func raw(f api.Handle) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		q.Raw = q.Role.Raw()
		return f(ctx, h, q)
	}
}

// silent answers a write with 204.
func silent(f api.Handle) api.Handle {
	return func(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
		_, err := f(ctx, h, q)
		return nil, err
	}
}

// RecoveryRoutes are all routes of a server in recovery mode.
var RecoveryRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/generate-recovery-token/attempt", Access: api.AlwaysOpen, Style: api.BareStyle,
		Lifecycle: true, Guarded: true, Handle: ceremonies.RecoveryStatus},
	{Methods: api.Write, Path: "sys/generate-recovery-token/attempt", Body: api.KeyBody, Access: api.AlwaysOpen,
		Style: api.BareStyle, Lifecycle: true, Guarded: true, Handle: ceremonies.RecoveryStart},
	{Methods: api.Remove, Path: "sys/generate-recovery-token/attempt", Body: api.SmallBody, Access: api.AlwaysOpen,
		Style: api.BareStyle, Lifecycle: true, Shares: true, Guarded: true, Handle: ceremonies.RecoveryCancel},
	{Methods: api.Write, Path: "sys/generate-recovery-token/update", Body: api.SmallBody, Access: api.AlwaysOpen,
		Style: api.BareStyle, Lifecycle: true, Shares: true, Guarded: true, Handle: ceremonies.RecoveryUpdate},
	{Methods: api.Get, Path: "sys/raw/*", Access: api.RecoveryToken, Lifecycle: true, Guarded: true,
		Handle: rawRead},
	{Methods: api.Listing, Path: "sys/raw", Access: api.RecoveryToken, Lifecycle: true, Guarded: true,
		Handle: rawList},
	{Methods: api.Listing, Path: "sys/raw/*", Access: api.RecoveryToken, Lifecycle: true, Guarded: true,
		Handle: rawList},
	{Methods: api.Write, Path: "sys/raw/*", Body: api.AnyBody, Access: api.RecoveryToken, Style: api.BareStyle,
		Lifecycle: true, Guarded: true, Handle: rawWrite},
	{Methods: api.Remove, Path: "sys/raw/*", Access: api.RecoveryToken, Style: api.BareStyle, Lifecycle: true,
		Guarded: true, Handle: rawDelete},
}
