package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// pathSealKeys is, by the seal's name, which keys a seal had before and which one is to come: JSON,
// with the version in "v".
const pathSealKeys = "core/seal-keys/"

// sealKeys is the entry of one seal.
type sealKeys struct {
	Version int      `json:"v"`
	Next    *nextKey `json:"next,omitempty"`
	Old     []oldKey `json:"old,omitempty"` // the newest last
}

// nextKey is a key that is to replace the seal's. The entry is written before the key is made, so
// that no key is made that nothing knows of.
type nextKey struct {
	ID      string    `json:"id"` // as seals.KeyReplacer has it
	Adopted bool      `json:"adopted,omitempty"`
	At      time.Time `json:"at"`
}

// oldKey is a key, or a version of it, that wrapped a part which was replaced.
type oldKey struct {
	Type       string    `json:"type,omitempty"` // of the seal
	KeyID      string    `json:"key_id"`
	KeyVersion string    `json:"key_version,omitempty"`
	Replaced   time.Time `json:"replaced"`
	Info       []byte    `json:"info,omitempty"`       // wrapping.KeyInfo without the wrapped data key
	Destroying bool      `json:"destroying,omitempty"` // a quorum authorised its destruction
}

// maxOldKeys bounds an entry. The oldest are forgotten first.
const maxOldKeys = 32

func readSealKeys(ctx context.Context, b *barrier.Barrier, name string) (*sealKeys, error) {
	raw, err := b.Get(ctx, pathSealKeys+name)
	if errors.Is(err, storage.ErrNotFound) {
		return &sealKeys{Version: 1}, nil
	}
	if err != nil {
		return nil, err
	}
	k := &sealKeys{}
	if err := json.Unmarshal(raw, k); err != nil || k.Version != 1 {
		return nil, fmt.Errorf("entry %s%s is malformed, or of a newer program", pathSealKeys, name)
	}
	return k, nil
}

// put adds the entry to a commit.
func (k *sealKeys) put(tx *barrier.Tx, name string) error {
	if k.Next == nil && len(k.Old) == 0 {
		tx.Delete(pathSealKeys + name)
		return nil
	}
	raw, err := json.Marshal(k)
	if err == nil {
		tx.Put(pathSealKeys+name, raw)
	}
	return err
}

// add notes the key of a part that is replaced.
func (k *sealKeys) add(p *seals.Part, at time.Time) error {
	info, _ := proto.Clone(p.Blob.GetKeyInfo()).(*wrapping.KeyInfo)
	if info != nil {
		info.WrappedKey = nil
	}
	raw, err := proto.Marshal(info)
	if err != nil {
		return err
	}
	k.drop(p.KeyID, p.KeyVersion)
	k.Old = append(k.Old, oldKey{Type: p.Type, KeyID: p.KeyID, KeyVersion: p.KeyVersion, Replaced: at.UTC(), Info: raw})
	k.Old = k.Old[max(0, len(k.Old)-maxOldKeys):]
	return nil
}

func (k *sealKeys) drop(id, version string) {
	k.Old = slices.DeleteFunc(k.Old, func(o oldKey) bool { return o.KeyID == id && o.KeyVersion == version })
}

// find returns an old key by its id or version; "" means the only one.
func (k *sealKeys) find(key string) (found []*oldKey) {
	for i := range k.Old {
		if o := &k.Old[i]; key == "" || o.KeyID == key || o.KeyVersion != "" && o.KeyVersion == key || o.label() == key {
			found = append(found, o)
		}
	}
	return found
}

// destroying reports whether the destruction of the key of a part is ordered.
func (k *sealKeys) destroying(p *seals.Part) bool {
	return slices.ContainsFunc(k.Old, func(o oldKey) bool {
		return o.Destroying && o.KeyID == p.KeyID && o.KeyVersion == p.KeyVersion
	})
}

// toBeDestroyed refuses a key that must wrap nothing any more.
func toBeDestroyed(name, key string) error {
	return fault.New(fault.Invalid, "nothing was changed: the key %s of seal %q is ordered to be destroyed, so that "+
		"nothing may be wrapped by it; end that first: sealgate operator seals retire -key=%s %s", key, name, key, name)
}

// noteKeys adds the keys that a changed record no longer uses to its commit, also those of seals
// that leave, and drops those that it uses again. It refuses a key that mounts have used, or whose
// destruction is ordered. replaced is the seal whose next key the record uses, "" for none.
func (s SealAdmin) noteKeys(
	ctx context.Context, a *RoleState, tx *barrier.Tx, next *seals.Record, replaced string,
) error {
	before := s.n.state.Load().record
	if before == nil {
		return nil
	}
	if err := s.unusedByMounts(ctx, a, before, next); err != nil {
		return err
	}
	for i := range before.Parts {
		was := &before.Parts[i]
		at := slices.IndexFunc(next.Parts, func(p seals.Part) bool { return p.Name == was.Name && p.Type == was.Type })
		m, _ := s.n.seals.Load().Member(was.Name)
		if _, quorum := m.Wrapper.(seals.Quorum); quorum {
			continue
		}
		now := &seals.Part{}
		if at >= 0 {
			now = &next.Parts[at]
		}
		if now.KeyID == was.KeyID && now.KeyVersion == was.KeyVersion {
			continue
		}
		k, err := readSealKeys(ctx, a.barrier, was.Name)
		if err != nil {
			return err
		}
		if k.destroying(now) {
			return toBeDestroyed(was.Name, now.KeyID)
		}
		if err := k.add(was, s.n.cfg.Now()); err != nil {
			return err
		}
		k.drop(now.KeyID, now.KeyVersion)
		if was.Name == replaced || at < 0 {
			k.Next = nil
		}
		if err := k.put(tx, was.Name); err != nil {
			return err
		}
	}
	return nil
}

// SealKey is a key that a seal had before, or one that is to replace it.
type SealKey struct {
	KeyID      string     `json:"key_id"`
	KeyVersion string     `json:"key_version,omitempty"`
	State      string     `json:"state"` // "old", "to be destroyed", "next"
	Since      time.Time  `json:"since"`
	Snapshots  int        `json:"snapshots"` // recent ones that need it
	Last       *time.Time `json:"last_snapshot,omitempty"`
}

// otherKeys lists the keys of a seal besides the one in use.
func (s SealAdmin) otherKeys(ctx context.Context, a *RoleState, name string) ([]SealKey, error) {
	k, err := readSealKeys(ctx, a.barrier, name)
	if err != nil {
		return nil, err
	}
	taken, err := readSnapshots(ctx, a.barrier)
	if err != nil {
		return nil, err
	}
	var out []SealKey
	for _, o := range k.Old {
		key := SealKey{KeyID: o.KeyID, KeyVersion: o.KeyVersion, State: "old", Since: o.Replaced}
		if o.Destroying {
			key.State = "to be destroyed"
		}
		if need := taken.of(name, o.KeyID, o.KeyVersion); need != nil && need.recent(s.n.cfg.Now()) {
			key.Snapshots, key.Last = need.Count, &need.Last
		}
		out = append(out, key)
	}
	if k.Next != nil {
		out = append(out, SealKey{KeyID: k.Next.ID, State: "next", Since: k.Next.At})
	}
	return out, nil
}
