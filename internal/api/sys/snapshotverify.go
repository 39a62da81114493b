package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/node"
)

// snapshotAnswer describes a snapshot that this server could restore.
type snapshotAnswer struct {
	Created     string `json:"created"`
	ClusterID   string `json:"cluster_id"`
	ClusterName string `json:"cluster_name"`
	Entries     int64  `json:"entries"`
	Verified    int    `json:"entries_verified"` // that are encrypted, and were decrypted
	Policy      string `json:"policy"`           // which seals open its root key
	Ours        bool   `json:"of_this_cluster"`
}

// verifySnapshot proves that the archive in the body could be restored, and changes nothing.
func verifySnapshot(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	ctx, cancel := q.Transfer(ctx)
	defer cancel()
	f, err := spool(q)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := node.SealAdminOf(h.Node).VerifySnapshot(ctx, f)
	if err != nil {
		return nil, err
	}
	return api.Show(snapshotAnswer{
		Created: c.Created.UTC().Format(time.RFC3339Nano), ClusterID: c.ClusterID, ClusterName: c.ClusterName,
		Entries: c.Info.Entries, Verified: c.Verified, Policy: c.Policy, Ours: c.Ours,
	})
}
