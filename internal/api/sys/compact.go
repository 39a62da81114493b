package sys

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/node"
)

// compactRoutes maintain the embedded storage. They are ours.
var compactRoutes = []api.Route{
	{Methods: api.Write, Path: "sys/storage/compact", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Duration: api.Transfer, Handle: compactStorage},
}

var compactDocs = map[string]api.Doc{
	"sys/storage/compact": {Text: "Rewrites the file of the embedded storage without its free space, while it is " +
		"served. The answer comes at the end.", Read: true},
}

type compactAnswer struct {
	Before int64 `json:"bytes_before"`
	After  int64 `json:"bytes_after"`
}

func compactStorage(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	before, after, err := node.CompactStorage(ctx, h.Node)
	if err != nil {
		return nil, err
	}
	return api.Show(compactAnswer{before, after})
}
