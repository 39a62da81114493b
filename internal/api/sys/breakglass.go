package sys

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/recovery"
)

// sys/break-glass unseals a node whose seals are lost with recovery shares. It is ours; it takes
// shares as sys/unseal does. Below it a quorum enrols: see package ceremonies.
var breakGlassRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/break-glass", Access: api.AlwaysOpen, Style: api.BareStyle, Lifecycle: true,
		Guarded: true, Handle: breakGlassStatus},
	{Methods: api.Write, Path: "sys/break-glass", Body: api.SmallBody, Access: api.AlwaysOpen, Style: api.BareStyle,
		Lifecycle: true, Shares: true, Guarded: true, Handle: breakGlass},
}

var breakGlassDocs = map[string]api.Doc{
	"sys/break-glass": {Text: "Shows whether recovery shares can unseal this node when its seals are lost; takes one " +
		"share towards that.", Read: true, Body: []api.DocField{
		{"key", "string", "One recovery share, in hex or base64."},
		{"reset", "boolean", "Forget the shares given so far. It takes a share too."},
	}},
}

type breakGlassAnswer struct {
	Sealed           bool   `json:"sealed"`
	Allowed          bool   `json:"allowed"`
	Enrolled         bool   `json:"enrolled"`
	T                int    `json:"t"`
	N                int    `json:"n"`
	Progress         int    `json:"progress"`
	Nonce            string `json:"nonce"`
	ShareGeneration  uint64 `json:"share_generation,omitempty"`
	UnsealedByShares bool   `json:"unsealed_by_break_glass"`
}

func breakGlassStatus(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	s := node.BreakGlassOf(h.Node).Status()
	return api.Show(breakGlassAnswer{
		Sealed: s.Sealed, Allowed: s.Allowed, Enrolled: s.Enrolled, T: s.Required, N: s.Shares, Progress: s.Progress,
		Nonce: s.Nonce, ShareGeneration: s.Generation, UnsealedByShares: s.UnsealedByShares,
	})
}

type breakGlassBody struct {
	Key   string `json:"key"`
	Reset bool   `json:"reset"`
}

func breakGlass(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var b breakGlassBody
	if err := q.Strict(&b); err != nil {
		return nil, err
	}
	if b.Key == "" {
		return nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON")
	}
	share, err := recovery.ParseShare(b.Key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "invalid key: %v", err)
	}
	defer share.Destroy()
	give := node.BreakGlassOf(h.Node).Give
	if b.Reset {
		give = node.BreakGlassOf(h.Node).Cancel
	}
	if err := give(ctx, share); err != nil {
		return nil, err
	}
	return breakGlassStatus(ctx, h, q)
}
