package sys

import (
	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

var lifecycleRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/init", Access: api.AlwaysOpen, Style: api.BareStyle, Lifecycle: true, Guarded: true,
		Handle: initStatus},
	{Methods: api.Write, Path: "sys/init", Body: api.InitBody, Access: api.AlwaysOpen,
		Style: api.BareStyle, Lifecycle: true,
		Guarded: true, Handle: initialize},
	{Methods: api.Get, Path: "sys/seal-status", Access: api.AlwaysOpen, Style: api.BareStyle, Handle: sealStatus},
	{Methods: api.Get, Path: "sys/seal-backend-status", Access: api.AlwaysOpen, Style: api.BareStyle,
		Handle: sealBackends},
	{Methods: api.Write, Path: "sys/unseal", Body: api.SmallBody, Access: api.AlwaysOpen,
		Style: api.BareStyle, Lifecycle: true,
		Shares: true, Guarded: true, Handle: unseal},
	{Methods: api.Write, Path: "sys/seal", Body: api.SmallBody, Access: api.TokenUnlessSealed, Capability: policy.Update,
		Sudo: true, Style: api.BareStyle, Lifecycle: true, Own: true, Here: true, Audit: api.AuditRequest,
		Duration: api.Lasting, Handle: seal},
	{Methods: api.Get, Path: "sys/health", Access: api.AlwaysOpen, Style: api.BareStyle, Lifecycle: true,
		Handle: health},
	{Methods: api.Get, Path: "sys/leader", Access: api.AlwaysOpen, Style: api.BareStyle, Handle: leader},
	{Methods: api.Write, Path: "sys/step-down", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style:     api.BareStyle,
		Lifecycle: true, Audit: api.AuditRequest, Duration: api.Lasting, Handle: stepDown},
	{Methods: api.Get, Path: "sys/ha-status", Capability: policy.Read, Style: api.DoubleStyle, Handle: haStatus},
}

var keyringRoutes = []api.Route{
	{Methods: api.Write, Path: "sys/rotate", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style:   api.DoubleStyle,
		Guarded: true, Handle: rotate},
	{Methods: api.Write, Path: "sys/rotate/keyring", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Style: api.DoubleStyle, Guarded: true, Handle: rotate},
	{Methods: api.Write, Path: "sys/rotate/root", Body: api.SmallBody, Capability: policy.Update,
		Sudo: true, Guarded: true,
		Handle: rotateRoot},
	{Methods: api.Get, Path: "sys/rotate/config", Capability: policy.Read, Guarded: true,
		Handle: rotationConfig},
	{Methods: api.Write, Path: "sys/rotate/config", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: setRotationConfig},
	{Methods: api.Get, Path: "sys/rotate/keyring/config", Capability: policy.Read, Guarded: true,
		Handle: rotationConfig},
	{Methods: api.Write, Path: "sys/rotate/keyring/config", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: setRotationConfig},
	{Methods: api.Get, Path: "sys/key-status", Capability: policy.Read, Style: api.DoubleStyle, Handle: keyStatus},
	{Methods: api.Write, Path: "sys/sealwrap/rewrap", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Handle: rewrapSeals},
}
