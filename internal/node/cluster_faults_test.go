package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestRecoveryModeTakesLeadership: it writes only while no other node can.
func TestRecoveryModeTakesLeadership(t *testing.T) {
	t.Parallel()
	e, r := newTestCluster(t, 1, false)
	e.settled()
	store := e.hub.Open()
	mode, err := NewRecovery(Config{Store: store, Seals: e.autoSeals(), Now: e.clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // it unwraps the root key before
	defer cancel()
	if _, err := mode.Start(ctx, "", ""); err == nil || !strings.Contains(err.Error(), "stop all other servers") {
		t.Errorf("recovery mode beside a leader: %v", err)
	}
	e.stops[0]()
	st, err := mode.Start(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range r.RecoveryKeys[:2] {
		if st, err = mode.Give(t.Context(), st.Nonce, share.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	n := e.add(false)
	if st.Complete != true || n.writer() != nil {
		t.Error("another node leads beside recovery mode")
	}
	if err := errors.Join(mode.Close(t.Context()), store.Close()); err != nil {
		t.Error(err)
	}
	e.leader()
}

// TestWatchEnds: a watch that ends early makes a standby read everything again, and it answers
// nothing by itself meanwhile.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 1, false)
	e.leader()
	b := &breakableStore{Store: e.hub.Open()}
	s := e.addOn(b, false)
	_, a := e.settled()
	for i := range 5 {
		before := s.role.Load()
		b.breakWatch()
		eventually(t, "a new standby", func() bool { now := s.role.Load(); return now != nil && now != before })
		if err := before.Current(t.Context()); err == nil {
			t.Error("a standby that follows nothing proves that it is current")
		}
		key := fmt.Sprintf("x/%d", i)
		if err := e.put(a, key, "v"); err != nil {
			t.Fatal(err)
		}
		e.reads(s, key, "v")
	}
}

// breakableStore is a storage handle whose watch a test can end.
type breakableStore struct {
	*inmem.Store
	mu  sync.Mutex
	end context.CancelFunc
}

func (b *breakableStore) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = cancel
	return b.Store.Watch(ctx, prefix)
}

func (b *breakableStore) breakWatch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
}

// TestRestoreInACluster: the leader restores under its epoch, and every standby follows.
func TestRestoreInACluster(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 3, false)
	n, a := e.settled()
	if err := e.put(a, "x/1", "then"); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &archive, false); err != nil {
		t.Fatal(err)
	}
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.put(a, "x/1", "later"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Restore(t.Context(), bytes.NewReader(archive.Bytes()), false, nil); err != nil {
		t.Fatal(err)
	}
	m, b := e.settled()
	if got, err := b.barrier.Get(t.Context(), "x/1"); err != nil || string(got) != "then" {
		t.Errorf("the leader reads %q, %v", got, err)
	}
	for _, s := range e.standbys(m) {
		e.reads(s, "x/1", "then")
	}
	if err := e.put(b, "x/2", "after"); err != nil {
		t.Fatal(err)
	}
	if got := b.barrier.KeyStatus().Term; got < 2 {
		t.Errorf("term %d: keys from a snapshot still encrypt", got)
	}
}
