package keys

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// garbage says, at "g/<id>", which versions of a key are still to be removed: what does not fit
// into the commit that decides it.
//
//	version u8 = 1 | versions below this number u32
type garbage struct{ before uint32 }

const (
	garbageVersion = 1
	everything     = 1<<32 - 1 // of a key that is gone, or not there yet
)

func garbageKey(of id) string { return garbagePrefix + hex.EncodeToString(of[:]) }

func (g garbage) marshal() []byte {
	return binary.BigEndian.AppendUint32([]byte{garbageVersion}, g.before)
}

func parseGarbage(b []byte) (garbage, error) {
	if len(b) != 1+4 || b[0] != garbageVersion {
		return garbage{}, fmt.Errorf("%w: version %d of a note of versions to be removed is expected",
			ErrRecord, garbageVersion)
	}
	return garbage{binary.BigEndian.Uint32(b[1:])}, nil
}

// Sweep removes what a crash has left. It can be cut off anywhere and called again.
func (s *Store) Sweep(ctx context.Context) error {
	names, err := s.base.List(ctx, garbagePrefix, "", 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := hex.DecodeString(name)
		if err != nil || len(raw) != len(id{}) {
			return fmt.Errorf("%w: the entry %s%s", ErrRecord, garbagePrefix, name)
		}
		if err := s.sweepOne(ctx, id(raw)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) sweepOne(ctx context.Context, of id) error {
	s.notes.Lock()
	defer s.notes.Unlock()
	return s.sweep(ctx, of)
}

// sweep removes the versions that a note lists, and the note last. The caller holds notes.
func (s *Store) sweep(ctx context.Context, of id) error {
	b, err := s.base.Get(ctx, garbageKey(of))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	g, err := parseGarbage(b)
	if err != nil {
		return err
	}
	return s.sweepBelow(ctx, of, g)
}

// sweepNow removes what was just decided to be garbage. Its note makes [Store.Sweep] do what fails
// here.
func (s *Store) sweepNow(ctx context.Context, of id) { _ = s.sweep(ctx, of) }

func (s *Store) sweepBelow(ctx context.Context, of id, g garbage) error {
	prefix := versionsPrefix + hex.EncodeToString(of[:]) + "/"
	var batch storage.Batch
	after := ""
	for {
		names, err := s.base.List(ctx, prefix, after, maxOps)
		if err != nil {
			return err
		}
		for _, name := range names {
			after = name
			if n, err := strconv.ParseUint(name, 10, 32); err == nil && uint32(n) >= g.before {
				continue
			}
			batch.Ops = append(batch.Ops, storage.Delete(prefix+name))
			if len(batch.Ops) == maxOps-1 {
				failpoint.Point("keys.sweep")
				if err := s.base.Commit(ctx, batch); err != nil {
					return err
				}
				batch.Ops = nil
			}
		}
		if len(names) < maxOps {
			break
		}
	}
	batch.Ops = append(batch.Ops, storage.Delete(garbageKey(of)))
	failpoint.Point("keys.sweep")
	return s.base.Commit(ctx, batch)
}
