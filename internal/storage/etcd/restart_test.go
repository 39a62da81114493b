package etcd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// until reads events up to the mark of a revision and returns their keys; closed reports that the
// channel was.
func until(t *testing.T, events <-chan storage.Event, revision uint64) (keys []string, closed bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return keys, true
			case e.Key != "":
				keys = append(keys, e.Key)
			case e.Revision >= revision:
				return keys, false
			}
		case <-timeout:
			t.Fatalf("no mark of %d after %q", revision, keys)
		}
	}
}

func revision(t *testing.T, s *etcd.Store) uint64 {
	t.Helper()
	n, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRestartOfEtcd: data, leadership and watch survive it, and nothing has to be opened again.
func TestRestartOfEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{})
	o := options(server)
	s := open(t, o)
	leadership := campaign(t, s, "a")
	events, err := s.Watch(t.Context(), "w/")
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string) {
		t.Helper()
		if err := s.Commit(t.Context(), storage.Batch{Epoch: leadership.Epoch(), Ops: put(key, "v")}); err != nil {
			t.Fatalf("Commit of %s: %v", key, err)
		}
	}
	write("w/before")
	server.Stop(0)
	blocked := make(chan error, 1)
	go func() { _, err := s.Get(t.Context(), "w/before"); blocked <- err }()
	server.Restart(0)
	if err := <-blocked; err != nil {
		t.Errorf("a read that met the restart: %v", err)
	}
	write("w/after")
	write("elsewhere")
	want(t, s, "w/before", "v")
	if !leadership.Held() {
		t.Error("the leadership was lost although its lease is long")
	}
	keys, closed := until(t, events, revision(t, s))
	if closed || fmt.Sprint(keys) != "[w/before w/after]" {
		t.Errorf("the watch brought %q, closed %v", keys, closed)
	}
}

// TestWatchThroughPartition misses nothing; where the history is gone, it says so.
func TestWatchThroughPartition(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	writer := open(t, o)
	s, proxy := behind(t, server, o)
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string) {
		t.Helper()
		if err := writer.Commit(t.Context(), storage.Batch{Ops: put(key, "v")}); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Stall()
	write("a")
	proxy.Cut()
	write("b")
	proxy.Flow()
	if keys, closed := until(t, events, revision(t, writer)); closed || fmt.Sprint(keys) != "[a b]" {
		t.Errorf("%q, closed %v", keys, closed)
	}
	proxy.Stall()
	proxy.Cut()
	write("c")
	write("d")
	server.Compact()
	write("e")
	proxy.Flow()
	if keys, closed := until(t, events, revision(t, writer)); !closed {
		t.Errorf("a watch with a hole continued: %q", keys)
	}
	again, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	write("f")
	if keys, closed := until(t, again, revision(t, writer)); closed || fmt.Sprint(keys) != "[f]" {
		t.Errorf("the next watch: %q, closed %v", keys, closed)
	}
}

// TestMembersFail: with one of three stopped, reads and writes work; with two stopped they fail
// with a cause, and recover automatically.
func TestMembersFail(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{Members: 3, NoSync: true, ElectionTimeout: 500 * time.Millisecond})
	o := options(server)
	s := open(t, o)
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	write := func(key string) error { return s.Commit(t.Context(), storage.Batch{Ops: put(key, "v")}) }
	if err := write("all"); err != nil {
		t.Fatal(err)
	}
	for i := range server.Endpoints {
		server.Stop(i)
		for round := 0; ; round++ { // a write that meets the end of a member, or its election, may fail
			err := write(fmt.Sprint("without", i))
			if err == nil {
				break
			}
			if !errors.Is(err, storage.ErrUnavailable) || round > 50 {
				t.Fatalf("without member %d: %v", i, err)
			}
		}
		want(t, s, "all", "v")
		server.Restart(i)
	}
	last := revision(t, s)
	keys, closed := until(t, events, last)
	seen := map[string]bool{}
	for _, k := range keys {
		seen[k] = true
	}
	if closed || !seen["all"] || !seen["without0"] || !seen["without1"] || !seen["without2"] {
		t.Errorf("the watch brought %q, closed %v", keys, closed)
	}
	o.RequestTimeout = busy
	short := open(t, o)
	server.Stop(0)
	server.Stop(1)
	if _, err := short.Get(t.Context(), "all"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a read without a quorum: %v", err)
	}
	server.Restart(0)
	server.Restart(1)
	want(t, s, "all", "v")
}

// TestOneSilentEndpoint: reads go to the other one.
func TestOneSilentEndpoint(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	proxy := etcdtest.NewProxy(t, server.Endpoints[0])
	o := options(server)
	o.Endpoints = []string{proxy.Endpoint, server.Endpoints[0]}
	s := open(t, o)
	if err := s.Commit(t.Context(), storage.Batch{Ops: put("k", "v")}); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	for range 2 { // whichever comes first
		want(t, s, "k", "v")
	}
}

// TestMemberWithoutLeader: one of the endpoints is cut off from the other members. It says so, and
// nothing waits for it.
func TestMemberWithoutLeader(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	lonely := etcdtest.Start(t, etcdtest.Options{Members: 3, NoSync: true})
	lonely.Stop(1)
	lonely.Stop(2)
	o := options(server)
	o.Endpoints = []string{server.Endpoints[0], lonely.Endpoints[0]}
	s := open(t, o)
	leadership := campaign(t, s, "a")
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		key := fmt.Sprint(i)
		if err := s.Commit(t.Context(), storage.Batch{Epoch: leadership.Epoch(), Ops: put(key, key)}); err != nil {
			t.Fatal(err)
		}
		want(t, s, key, key)
	}
	if keys, closed := until(t, events, revision(t, s)); len(keys) != 20 || closed {
		t.Errorf("the watch brought %q, closed %v", keys, closed)
	}
	if err := leadership.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	o.Endpoints, o.RequestTimeout = lonely.Endpoints[:1], busy
	if _, err := etcd.Open(t.Context(), o); !errors.Is(err, storage.ErrUnavailable) ||
		!strings.Contains(err.Error(), "quorum") {
		t.Errorf("a member alone: %v", err)
	}
}
