package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/node"
)

// snapshotProofRoutes prove snapshots. They are ours.
var snapshotProofRoutes = []api.Route{
	{Methods: api.Write, Path: "sys/storage/snapshot/verify", Capability: policy.Update, Sudo: true,
		Duration: api.Transfer, Handle: verifySnapshot},
	{Methods: api.Get, Path: "sys/snapshots", Capability: policy.Read, Handle: listSchedules},
	{Methods: api.Get, Path: "sys/storage/snapshot/public-key", Capability: policy.Read, Handle: snapshotKeys},
	{Methods: api.Write, Path: "sys/storage/snapshot/rotate-key", Body: api.SmallBody, Capability: policy.Update,
		Sudo: true, Handle: rotateSnapshotKey},
}

var snapshotProofDocs = map[string]api.Doc{
	"sys/snapshots": {Text: "Lists the scheduled snapshots, and what was taken and verified last."},
	"sys/storage/snapshot/verify": {Text: "Proves that this server could restore the snapshot in the body: it decrypts " +
		"the root key and every entry, and changes nothing.", Read: true},
	"sys/storage/snapshot/public-key": {Text: "Shows the public key that verifies the signatures of snapshots, and the " +
		"keys before it."},
	"sys/storage/snapshot/rotate-key": {Text: "Makes a new key that signs snapshots.", Read: true},
}

func listSchedules(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	all, err := node.SealAdminOf(h.Node).Schedules(ctx)
	if err != nil {
		return nil, err
	}
	return api.Show(struct {
		Schedules []node.Schedule `json:"schedules"`
	}{all})
}

// snapshotKeysAnswer has the key that signs apart from those before it.
type snapshotKeysAnswer struct {
	node.SnapshotKey
	Retired []node.SnapshotKey `json:"retired"` // newest first
}

func showSnapshotKeys(all []node.SnapshotKey, err error) (*api.Answer, error) {
	if err != nil {
		return nil, err
	}
	return api.Show(snapshotKeysAnswer{all[0], all[1:]})
}

func snapshotKeys(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return showSnapshotKeys(node.SealAdminOf(h.Node).SnapshotKeys(ctx))
}

func rotateSnapshotKey(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return showSnapshotKeys(node.SealAdminOf(h.Node).RotateSnapshotKey(ctx, changer(q)))
}

// snapshotAnswer describes a snapshot that this server could restore.
type snapshotAnswer struct {
	Created     string `json:"created"`
	ClusterID   string `json:"cluster_id"`
	ClusterName string `json:"cluster_name"`
	Entries     int64  `json:"entries"`
	Verified    int    `json:"entries_verified"` // that are encrypted, and were decrypted
	Policy      string `json:"policy"`           // which seals open its root key
	Ours        bool   `json:"of_this_cluster"`
	Signer      []byte `json:"signed_by,omitempty"` // its cluster's key; none: it carries no signature
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
		Signer: c.Signer,
	})
}
