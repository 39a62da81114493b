package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
)

// pathSnapshots is when the last snapshot was taken that a seal can open: JSON, with the version in
// "v" and times by the seal's name.
const pathSnapshots = "core/seal-snapshots"

type snapshotSeals struct {
	Version int                  `json:"v"`
	Last    map[string]time.Time `json:"last"`
}

func readSnapshots(ctx context.Context, b *barrier.Barrier) (map[string]time.Time, error) {
	raw, err := b.Get(ctx, pathSnapshots)
	if errors.Is(err, storage.ErrNotFound) {
		return map[string]time.Time{}, nil
	}
	if err != nil {
		return nil, err
	}
	var s snapshotSeals
	if err := json.Unmarshal(raw, &s); err != nil || s.Version != 1 {
		return nil, fmt.Errorf("entry %s is malformed, or of a newer program", pathSnapshots)
	}
	if s.Last == nil {
		s.Last = map[string]time.Time{}
	}
	return s.Last, nil
}

// noteSnapshot records that a snapshot was taken. The snapshot is good without that.
func (s SealAdmin) noteSnapshot(ctx context.Context, a *RoleState, members []string, at time.Time) {
	if a.Standby() {
		return
	}
	last, err := readSnapshots(ctx, a.barrier)
	if err == nil {
		for _, name := range members {
			last[name] = at
		}
		var raw []byte
		if raw, err = json.Marshal(snapshotSeals{1, last}); err == nil {
			err = a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathSnapshots, raw)}})
		}
	}
	if err != nil {
		s.n.log.Warn("it could not be recorded which seals a snapshot needs; the removal of one will not warn of it",
			"error", err)
	}
}
