package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/storage"
)

// leadershipChanges moves the leadership often between two candidates: epochs grow, a node that
// resigned does not hold it, and the holder can write.
func leadershipChanges(s *suite) {
	a, b, ea, eb := s.nodes()
	if ea == nil {
		return
	}
	var last atomic.Uint64
	stores, electors := []storage.Store{a, b}, []storage.Elector{ea, eb}
	together(2, func(node int) {
		for range 5 {
			leadership, err := electors[node].Campaign(s.ctx, []byte{byte(node)})
			if err != nil {
				s.t.Errorf("Campaign: %v", err)
				return
			}
			if before := last.Swap(leadership.Epoch()); before >= leadership.Epoch() {
				s.t.Errorf("epoch %d after %d", leadership.Epoch(), before)
			}
			key := fmt.Sprint("epoch/", leadership.Epoch())
			err = stores[node].Commit(s.ctx,
				storage.Batch{Epoch: leadership.Epoch(), If: []storage.Condition{storage.IfAbsent(key)},
					Ops: []storage.Op{storage.Put(key, []byte{byte(node)})}})
			if err != nil {
				s.t.Errorf("the leader's commit: %v", err)
			}
			if err := leadership.Resign(s.ctx); err != nil {
				s.t.Errorf("Resign: %v", err)
			}
			if leadership.Held() {
				s.t.Error("Held is true after Resign")
			}
			s.lost(leadership)
			// The conditions fail too, but a node that is not the leader must learn that first.
			err = stores[node].Commit(s.ctx,
				storage.Batch{Epoch: leadership.Epoch(), If: []storage.Condition{storage.IfAbsent(key)},
					Ops: []storage.Op{storage.Put("late", nil)}})
			s.wantError("a commit after the resignation", err, storage.ErrFenced)
			if err := leadership.Resign(s.ctx); err != nil {
				s.t.Errorf("a second resignation: %v", err)
			}
		}
	})
	names, err := a.List(s.ctx, "epoch/", "", 0)
	if err != nil || len(names) != 10 {
		s.t.Errorf("%d leaders wrote, %v; want 10", len(names), err)
	}
	s.holds(b, "late", nil)
}

// secondHandleFollows: a commit of one node is visible on the other at once, and arrives in its
// watch with a mark.
func secondHandleFollows(s *suite) {
	if !s.Shared {
		return
	}
	a, b := s.open(), s.open()
	watcher, ok := b.(storage.Watcher)
	sequencer, counts := b.(storage.Sequencer)
	if !ok || !counts {
		return
	}
	s.commit(a, storage.Put("before", nil))
	before, err := sequencer.Revision(s.ctx)
	if err != nil || before == 0 {
		s.t.Fatalf("Revision = %d, %v", before, err)
	}
	events, err := watcher.Watch(s.ctx, "f/")
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 20 {
		writer, key := a, fmt.Sprintf("f/%02d", i)
		if i%3 == 0 {
			writer = b
		}
		s.commit(writer, storage.Put(key, []byte(key)), storage.Put("aside", []byte(key)))
		now, err := sequencer.Revision(s.ctx)
		if err != nil || now <= before {
			s.t.Fatalf("Revision = %d, %v; it was %d before a commit that has returned", now, err, before)
		}
		if keys := s.until(events, now); !slices.Equal(keys, []string{key}) {
			s.t.Errorf("the mark of %d came after %q; want %q", now, keys, key)
		}
		s.holds(b, key, []byte(key))
		s.noted(b, key, now)
		s.noted(b, "f/absent", now)
		before = now
	}
	s.commit(a, storage.Delete("aside"))
	if _, err := b.Get(s.ctx, "aside"); !errors.Is(err, storage.ErrNotFound) {
		s.t.Errorf("a deleted key: %v", err)
	}
}

// noted checks the revision that a read notes, where the store notes one.
func (s *suite) noted(store storage.Store, key string, want uint64) {
	s.t.Helper()
	var r storage.ReadRevision
	ctx := storage.WithReadRevision(s.ctx, &r)
	if _, err := store.Get(ctx, key); err != nil && !errors.Is(err, storage.ErrNotFound) {
		s.t.Error(err)
	}
	if got, ok := r.Revision(); ok && got != want {
		s.t.Errorf("a read of %q noted revision %d; want %d", key, got, want)
	}
}
