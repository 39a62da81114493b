package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// TestSilentMember: the member in use answers nothing any more. Reads, commits and the watch move
// to another one, and the leadership survives.
func TestSilentMember(t *testing.T) {
	t.Parallel()
	s, server := start(t, etcdtest.Options{Members: 3}, nil)
	l, err := s.Campaign(t.Context(), []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		silent, _ := s.preferred.current()
		server.Proxy(silent).Stall()
		key, begun := fmt.Sprint("k", round), time.Now()
		b := storage.Batch{Epoch: l.Epoch(), Ops: []storage.Op{storage.Put(key, nil)}}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		t.Logf("the commit took %s", time.Since(begun))
		if took := time.Since(begun); took > time.Minute/2 { // it does not wait for the request timeout
			t.Errorf("a commit that met a silent member took %s", took)
		}
		if now, _ := s.preferred.current(); now == silent {
			t.Error("the silent member is still asked first")
		}
		begun = time.Now()
		if _, err := s.Get(t.Context(), key); err != nil || time.Since(begun) > time.Minute/2 {
			t.Errorf("the next read: %s, %v", time.Since(begun), err)
		}
		for e := range events {
			if e.Key == key {
				break
			}
		}
		if !l.Held() {
			t.Error("the leadership was lost")
		}
		server.Proxy(silent).Flow()
	}
	if f := s.Failing(); f != nil {
		t.Errorf("the storage counts as failing: %+v", f)
	}
}

// holding is a member that takes transactions and does not execute them.
type holding struct {
	pb.KVClient
	held chan *pb.TxnRequest
}

func (h *holding) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	select {
	case h.held <- r:
	default: // the first copy alone is kept
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLateCopy: a frozen member executes its copy of a commit after other commits. Nothing changes.
func TestLateCopy(t *testing.T) {
	t.Parallel()
	s, server := start(t, etcdtest.Options{Members: 3}, nil)
	real := s.members[0].link.Load()
	frozen := &holding{KVClient: real.kv, held: make(chan *pb.TxnRequest, 1)}
	commit := func(value string, conditions ...storage.Condition) error {
		return s.Commit(t.Context(), storage.Batch{If: conditions, Ops: []storage.Op{storage.Put("k", []byte(value))}})
	}
	freeze := func() {
		s.members[0].link.Store(&link{client: real.client, kv: frozen})
		s.preferred.set(0)
	}
	thaw := func(want string) {
		t.Helper()
		s.members[0].link.Store(real)
		late := <-frozen.held
		testkit.Eventually(t, "the member answers the late copy", func() bool {
			resp, err := real.kv.Txn(t.Context(), late)
			if resp.GetSucceeded() {
				t.Error("the late copy was executed")
			}
			return err == nil
		})
		if got, err := s.Get(t.Context(), "k"); err != nil || string(got) != want {
			t.Errorf("it holds %q, %v; want %q", got, err, want)
		}
	}
	if err := commit("0"); err != nil {
		t.Fatal(err)
	}

	freeze()
	if err := commit("1"); err != nil {
		t.Fatal(err)
	}
	if err := commit("2"); err != nil {
		t.Fatal(err)
	}
	thaw("2")

	// A refused commit is settled: its condition holds again when the late copy is executed.
	freeze()
	refused := storage.IfValue("k", []byte("3"))
	if err := commit("wrong", refused); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("a condition that does not hold: %v", err)
	}
	if _, err := server.Client().Put(t.Context(), string(s.keys.of("k")), "3"); err != nil {
		t.Fatal(err)
	}
	thaw("3")
}

// TestCopyThatWasExecuted: the answer of the first copy is lost, and the second is refused by the
// slot's mark, which shows that the commit is done.
func TestCopyThatWasExecuted(t *testing.T) {
	t.Parallel()
	s, _ := start(t, etcdtest.Options{Members: 3}, nil)
	l, err := s.Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	real := s.members[0].link.Load()
	s.members[0].link.Store(&link{client: real.client, kv: silentlyDone{real.kv}})
	s.preferred.set(0)
	for _, epoch := range []uint64{0, l.Epoch()} {
		key := fmt.Sprint("k", epoch)
		b := storage.Batch{Epoch: epoch, If: []storage.Condition{storage.IfAbsent(key)},
			Ops: []storage.Op{storage.Put(key, []byte("v"))}}
		s.preferred.set(0)
		if err := s.Commit(t.Context(), b); err != nil {
			t.Errorf("epoch %d: %v", epoch, err)
		}
		if err := s.Commit(t.Context(), b); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("epoch %d, again: %v", epoch, err)
		}
	}
	if err := l.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.preferred.set(0)
	if again, err := s.Campaign(t.Context(), nil); err != nil || !again.Held() || again.Epoch() <= l.Epoch() {
		t.Errorf("an election whose answer is lost: %v", err)
	}
}

// silentlyDone is a member that executes transactions, and whose answers are lost.
type silentlyDone struct{ pb.KVClient }

func (s silentlyDone) Txn(ctx context.Context, r *pb.TxnRequest, o ...grpc.CallOption) (*pb.TxnResponse, error) {
	if _, err := s.KVClient.Txn(ctx, r, o...); err != nil {
		return nil, err
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestOutageIsReported: the class shows while calls fail and is gone when they succeed again; a
// call does not wait for its deadline while connections are refused.
func TestOutageIsReported(t *testing.T) {
	t.Parallel()
	s, server := start(t, etcdtest.Options{}, func(o *Options) { o.OutageTimeout = DefaultOutageTimeout })
	put := func() error {
		return s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("k", nil)}})
	}
	check := func(want storage.Class) {
		t.Helper()
		f := s.Failing()
		if (f == nil) != (want == "") || f != nil && f.Class != want {
			t.Errorf("failing: %+v; want %q", f, want)
		}
		if f != nil && (!strings.Contains(f.Err.Error(), server.Endpoints[0]) || f.Class.Remedy() == "") {
			t.Errorf("no address, or no remedy: %v", f.Err)
		}
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	check("")
	server.RaiseFullAlarm()
	if err := put(); !errors.Is(err, storage.ErrFull) {
		t.Errorf("at the quota: %v", err)
	}
	check(storage.Full)
	if _, err := s.Get(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	check(storage.Full) // a read proves nothing about writes
	server.DisarmFullAlarm()
	if err := put(); err != nil {
		t.Error(err)
	}
	check("")
	server.Proxy(0).Down()
	begun := time.Now()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrUnavailable) ||
		!strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without etcd: %v", err)
	}
	if took := time.Since(begun); took > time.Minute/2 {
		t.Errorf("it took %s", took)
	}
	check(storage.Unreachable)
	server.Proxy(0).Up(t)
	testkit.Eventually(t, "a commit succeeds", func() bool { return put() == nil })
	check("")
}
