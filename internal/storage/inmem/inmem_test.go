package inmem_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) storagetest.Harness {
		hub := inmem.NewHub()
		return storagetest.Harness{Shared: true, Open: func() (storage.Store, error) { return hub.Open(), nil }}
	})
}

func TestNewIsEmptyAndAlone(t *testing.T) {
	t.Parallel()
	a, b := inmem.New(), inmem.New()
	if err := a.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("k", nil)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "k"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("two stores share data: %v", err)
	}
}

// TestDepose is what a partition looks like: the leader continues for a while, and cannot write.
func TestDepose(t *testing.T) {
	t.Parallel()
	hub := inmem.NewHub()
	if hub.Depose() {
		t.Error("no leader was deposed")
	}
	a, b := hub.Open(), hub.Open()
	first, err := a.Campaign(t.Context(), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if !hub.Depose() {
		t.Fatal("the leader was not deposed")
	}
	<-first.Lost()
	err = a.Commit(t.Context(), storage.Batch{Epoch: first.Epoch(), Ops: []storage.Op{storage.Put("k", nil)}})
	if !errors.Is(err, storage.ErrFenced) {
		t.Errorf("a deposed leader wrote: %v", err)
	}
	second, err := b.Campaign(t.Context(), []byte("b"))
	if err != nil || second.Epoch() <= first.Epoch() {
		t.Errorf("%v, epoch %d after %d", err, second.Epoch(), first.Epoch())
	}
	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if who, _, err := a.Leader(t.Context()); string(who) != "b" || err != nil {
		t.Errorf("a late resignation unseated %q, %v", who, err)
	}
}

// TestSlowWatcher: a slow watcher loses its channel and does not delay writers.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	s := inmem.New()
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(fmt.Sprint(i), nil)}}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for range events {
		n++
	}
	if n == 0 || n >= 5000 {
		t.Errorf("%d events before the channel was closed", n)
	}
}
