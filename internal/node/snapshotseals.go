package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// pathSnapshots is when the last snapshot was taken that a seal can open, and one that needs a key:
// JSON, with the version in "v", times by the seal's name, and one row for each key.
const pathSnapshots = "core/seal-snapshots"

type snapshotSeals struct {
	Version int                  `json:"v"`
	Last    map[string]time.Time `json:"last"`
	Keys    []snapshotKey        `json:"keys,omitempty"`
}

// snapshotKey is how many snapshots were taken whose part of a seal needs one version of one key.
type snapshotKey struct {
	Seal       string    `json:"seal"`
	KeyID      string    `json:"key_id"`
	KeyVersion string    `json:"key_version,omitempty"`
	Count      int       `json:"count"`
	Last       time.Time `json:"last_taken"`
}

// maxSnapshotKeys bounds the rows. The oldest are forgotten first.
const maxSnapshotKeys = 128

// recent reports whether one of the snapshots may have to be restored.
func (k *snapshotKey) recent(now time.Time) bool { return now.Sub(k.Last) <= snapshotDays*24*time.Hour }

// of returns the row of a key, nil without one.
func (s *snapshotSeals) of(seal, id, version string) *snapshotKey {
	i := slices.IndexFunc(s.Keys, func(k snapshotKey) bool {
		return k.Seal == seal && k.KeyID == id && k.KeyVersion == version
	})
	if i < 0 {
		return nil
	}
	return &s.Keys[i]
}

// add counts a snapshot of a record.
func (s *snapshotSeals) add(r *seals.Record, at time.Time) {
	for i := range r.Parts {
		p := &r.Parts[i]
		s.Last[p.Name] = at
		k := s.of(p.Name, p.KeyID, p.KeyVersion)
		if k == nil {
			s.Keys = append(s.Keys, snapshotKey{Seal: p.Name, KeyID: p.KeyID, KeyVersion: p.KeyVersion})
			k = &s.Keys[len(s.Keys)-1]
		}
		k.Count++
		k.Last = at
	}
	slices.SortStableFunc(s.Keys, func(a, b snapshotKey) int { return a.Last.Compare(b.Last) })
	s.Keys = s.Keys[max(0, len(s.Keys)-maxSnapshotKeys):]
}

func readSnapshots(ctx context.Context, b *barrier.Barrier) (*snapshotSeals, error) {
	s := &snapshotSeals{Version: 1, Last: map[string]time.Time{}}
	raw, err := b.Get(ctx, pathSnapshots)
	if errors.Is(err, storage.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, s); err != nil || s.Version != 1 {
		return nil, fmt.Errorf("entry %s is malformed, or of a newer program", pathSnapshots)
	}
	if s.Last == nil {
		s.Last = map[string]time.Time{}
	}
	return s, nil
}

// noteSnapshot records that a snapshot was taken. The snapshot is good without that.
func (s SealAdmin) noteSnapshot(ctx context.Context, a *RoleState, r *seals.Record, at time.Time) {
	if a.Standby() {
		return
	}
	taken, err := readSnapshots(ctx, a.barrier)
	if err == nil {
		taken.add(r, at)
		var raw []byte
		if raw, err = json.Marshal(taken); err == nil {
			err = a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathSnapshots, raw)}})
		}
	}
	if err != nil {
		s.n.log.Warn("it could not be recorded which seals a snapshot needs; the removal of one will not warn of it",
			"error", err)
	}
}
