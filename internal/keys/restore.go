package keys

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// Restore makes a key of a backup, under its own name where name is empty. A key of that name is
// replaced if force is set, and is [ErrExists] otherwise. The versions are written first, and noted
// as garbage until the commit that makes them a key.
func (s *Store) Restore(ctx context.Context, name string, b *Backup, force bool) error {
	if name == "" {
		name = b.Name
	}
	defer s.lock(name)()
	old, err := s.load(ctx, name)
	switch {
	case err == nil && !force:
		return ErrExists
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	of, err := s.newID()
	if err != nil {
		return err
	}
	settings := b.settings
	settings.Restored = Event{At: s.now().UnixNano(), Version: settings.Latest}
	k := s.newKey(name, settings, of)
	s.notes.Lock()
	defer s.notes.Unlock()
	if err := s.writeVersions(ctx, k, b.versions); err != nil {
		return err
	}
	batch := storage.Batch{Ops: []storage.Op{storage.Put(settingsPrefix+name, settings.marshal(of)),
		storage.Delete(garbageKey(of))}}
	if old != nil {
		batch.Ops = append(s.removal(old), batch.Ops...)
	}
	if err := s.write(ctx, name, batch); err != nil {
		return err
	}
	s.keep(k)
	if old != nil {
		s.forget(old.id)
		s.sweepNow(ctx, old.id)
	}
	return nil
}

// Limits of a commit of versions.
const batchBytes = storage.MaxBytes / 2

func (s *Store) writeVersions(ctx context.Context, k *Key, all []*Version) error {
	batch := storage.Batch{Ops: []storage.Op{storage.Put(garbageKey(k.id), garbage{before: everything}.marshal())}}
	size := 0
	for _, v := range all {
		record, err := v.marshal()
		if err != nil {
			return err
		}
		defer record.Destroy()
		if len(batch.Ops) == maxOps || size+record.Len() > batchBytes && len(batch.Ops) > 0 {
			failpoint.Point("keys.restore.versions")
			if err := s.base.Commit(ctx, batch); err != nil {
				return err
			}
			batch.Ops, size = nil, 0
		}
		size += record.Len()
		batch.Ops = append(batch.Ops, storage.Put(k.versionKey(v.Number), record.Expose()))
	}
	failpoint.Point("keys.restore.versions")
	return s.base.Commit(ctx, batch)
}
