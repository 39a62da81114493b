package etcd_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// behind opens a store on the same data through a proxy of its own.
func behind(t testing.TB, c *etcdtest.Cluster, o etcd.Options) (*etcd.Store, *etcdtest.Proxy) {
	t.Helper()
	p := etcdtest.NewProxy(t, c.Endpoints[0])
	o.Endpoints = []string{p.Endpoint}
	return open(t, o), p
}

func campaign(t testing.TB, s *etcd.Store, identity string) storage.Leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := s.Campaign(ctx, []byte(identity))
	if err != nil {
		t.Fatalf("Campaign of %s: %v", identity, err)
	}
	return l
}

func put(key, value string) []storage.Op { return []storage.Op{storage.Put(key, []byte(value))} }

func want(t testing.TB, s *etcd.Store, key, value string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != value {
		t.Errorf("%q holds %q, %v; want %q", key, got, err, value)
	}
}

// TestLateCommitOfADeposedLeader: the commit is prepared and sent while its leader is leading,
// and held up on the proxy until another one is.
func TestLateCommitOfADeposedLeader(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{})
	o := options(server)
	o.LeaseTTL = shortLease
	b := open(t, o)
	a, proxy := behind(t, server, o)
	first := campaign(t, a, "a")
	if err := a.Commit(t.Context(), storage.Batch{Epoch: first.Epoch(), Ops: put("k", "first")}); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	late := make(chan error, 1)
	go func() { late <- a.Commit(t.Context(), storage.Batch{Epoch: first.Epoch(), Ops: put("k", "late")}) }()
	second := campaign(t, b, "b")
	if first.Held() {
		t.Error("two nodes are certain of the leadership")
	}
	select {
	case <-first.Lost():
	default:
		t.Error("the first leader did not learn it before the second was elected")
	}
	if second.Epoch() <= first.Epoch() {
		t.Errorf("epoch %d after %d", second.Epoch(), first.Epoch())
	}
	if err := b.Commit(t.Context(), storage.Batch{Epoch: second.Epoch(), Ops: put("k", "second")}); err != nil {
		t.Fatal(err)
	}
	proxy.Flow()
	if err := <-late; !errors.Is(err, storage.ErrFenced) || !storage.NothingWritten(err) {
		t.Errorf("the late commit: %v; want ErrFenced", err)
	}
	want(t, b, "k", "second")
	if err := first.Resign(t.Context()); err != nil {
		t.Errorf("a late resignation: %v", err)
	}
	if who, epoch, err := a.Leader(t.Context()); string(who) != "b" || epoch != second.Epoch() || err != nil {
		t.Errorf("a late resignation unseated %q, %v", who, err)
	}
}

// TestStoppedProcess: the clock continues while nothing of the process runs, so that the first
// question after it is answered rightly, before any goroutine had its turn.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	var stopped atomic.Int64
	start := time.Now()
	o.Clock = func() time.Duration { return time.Since(start) + time.Duration(stopped.Load()) }
	l := campaign(t, open(t, o), "a")
	if !l.Held() {
		t.Fatal("a new leader does not hold its leadership")
	}
	stopped.Store(int64(50 * time.Second))
	if !l.Held() {
		t.Error("the leadership ended early")
	}
	stopped.Store(int64(55 * time.Second)) // a tenth of the lease is the margin
	if l.Held() {
		t.Error("a leader that was stopped beyond its lease is certain of its leadership")
	}
}

// TestOneAtATime: nodes take the leadership, lose their proxy to etcd, and give it up, in no order.
// At no moment are two certain of it.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	o.LeaseTTL = 400 * time.Millisecond
	var certain sync.Mutex // held while one is
	var current atomic.Pointer[storage.Leadership]
	var epoch atomic.Uint64
	var nodes sync.WaitGroup
	for i := range 3 {
		s, proxy := behind(t, server, o)
		nodes.Go(func() {
			for round := range 4 {
				l, err := s.Campaign(t.Context(), []byte{byte(i)})
				if err != nil {
					t.Errorf("Campaign: %v", err)
					return
				}
				certain.Lock()
				if before := current.Load(); before != nil && (*before).Held() {
					t.Errorf("epoch %d began while %d was held", l.Epoch(), (*before).Epoch())
				}
				current.Store(&l)
				certain.Unlock()
				if old := epoch.Swap(l.Epoch()); old >= l.Epoch() {
					t.Errorf("epoch %d after %d", l.Epoch(), old)
				}
				if (i+round)%2 == 0 {
					if err := l.Resign(t.Context()); err != nil {
						t.Errorf("Resign: %v", err)
					}
					continue
				}
				proxy.Stall()
				<-l.Lost()
				if l.Held() {
					t.Error("a lost leadership is held")
				}
				proxy.Flow()
			}
		})
	}
	nodes.Wait()
}

// TestLeaderThatIsGone is no longer the leader once its lease is over, even where no other node
// leads.
func TestLeaderThatIsGone(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	o.LeaseTTL = shortLease
	a, proxy := behind(t, server, o)
	b := open(t, o)
	l := campaign(t, a, "a")
	if who, _, err := b.Leader(t.Context()); err != nil || string(who) != "a" {
		t.Fatalf("Leader = %q, %v", who, err)
	}
	proxy.Stall()
	<-l.Lost()
	deadline := time.After(patience)
	for {
		_, _, err := b.Leader(t.Context())
		if errors.Is(err, storage.ErrNotFound) {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("still leading: %v", err)
		default:
		}
	}
	proxy.Flow()
	if again := campaign(t, a, "a"); again.Epoch() <= l.Epoch() || !again.Held() {
		t.Errorf("the next leadership: epoch %d after %d", again.Epoch(), l.Epoch())
	}
}

// TestLeaseIsWatchedFromOpen: by the clock of a candidate that was opened a lease ago, a silent
// leader is gone at once.
func TestLeaseIsWatchedFromOpen(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	silent := campaign(t, open(t, o), "silent")
	var passed atomic.Int64
	start := time.Now()
	o.Clock = func() time.Duration { return time.Since(start) + time.Duration(passed.Load()) }
	s := open(t, o)
	if _, epoch, err := s.Leader(t.Context()); err != nil || epoch != silent.Epoch() {
		t.Fatalf("Leader = %d, %v", epoch, err)
	}
	passed.Store(int64(time.Minute + time.Second))
	if l := campaign(t, s, "next"); l.Epoch() <= silent.Epoch() {
		t.Errorf("epoch %d after %d", l.Epoch(), silent.Epoch())
	}
}

// TestLeadershipTakenAway: an operator deletes the leader's key.
func TestLeadershipTakenAway(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	o.LeaseTTL = shortLease // a renewal shows it
	s := open(t, o)
	l := campaign(t, s, "a")
	if _, err := server.Client().Delete(t.Context(), o.Path+"/office/leader"); err != nil {
		t.Fatal(err)
	}
	<-l.Lost()
	if err := s.Commit(t.Context(), storage.Batch{Epoch: l.Epoch(), Ops: put("k", "v")}); !errors.Is(err,
		storage.ErrFenced) {
		t.Errorf("a commit without a leadership: %v", err)
	}
}

// TestForeignLeaderRecord is not guessed at.
func TestForeignLeaderRecord(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	s := open(t, o)
	if _, err := server.Client().Put(t.Context(), o.Path+"/office/leader", "\x02\x00\x00\x05\xdcnode"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Campaign(t.Context(), nil); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("Campaign: %v", err)
	}
	if _, _, err := s.Leader(t.Context()); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("Leader: %v", err)
	}
	if _, err := s.Campaign(t.Context(), make([]byte, 65<<10)); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("a huge identity: %v", err)
	}
}
