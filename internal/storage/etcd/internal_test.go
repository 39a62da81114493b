package etcd

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// counting counts what is asked of etcd.
type counting struct {
	pb.KVClient
	ranges, keys, most atomic.Int64
}

func (c *counting) Range(ctx context.Context, r *pb.RangeRequest, o ...grpc.CallOption) (*pb.RangeResponse, error) {
	resp, err := c.KVClient.Range(ctx, r, o...)
	c.ranges.Add(1)
	if err == nil {
		c.keys.Add(int64(len(resp.Kvs)))
		c.most.Store(max(c.most.Load(), int64(len(resp.Kvs))))
	}
	return resp, err
}

func (c *counting) reset() { c.ranges.Store(0); c.keys.Store(0); c.most.Store(0) }

func start(t *testing.T, o etcdtest.Options, change func(*Options)) (*Store, *etcdtest.Cluster) {
	t.Helper()
	o.NoSync = true
	server := etcdtest.Start(t, o)
	options := Options{Endpoints: server.Endpoints, LeaseTTL: time.Minute, RequestTimeout: time.Minute,
		OutageTimeout: time.Minute} // which do not end in a test
	if o.Auth {
		options.Username, options.Password = etcdtest.User, etcdtest.UserPassword
	}
	if change != nil {
		change(&options)
	}
	s, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, server
}

// fill writes keys with the value of each.
func fill(t *testing.T, s *Store, keys []string, value func(key string) []byte) {
	t.Helper()
	for some := range slices.Chunk(keys, 60) {
		var ops []storage.Op
		for _, k := range some {
			ops = append(ops, storage.Put(k, value(k)))
		}
		if err := s.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCauseOfAFailedConnection: whichever error gRPC has first when an attempt to connect ends at
// its deadline, the cause is that etcd did not answer.
func TestCauseOfAFailedConnection(t *testing.T) {
	t.Parallel()
	s := &Store{o: Options{Endpoints: []string{"http://127.0.0.1:1"}, RequestTimeout: time.Second}}
	for text, want := range map[string]string{
		"error reading server preface: raw-read tcp: use of closed network connection": "did not answer",
		"error reading server preface: read tcp: i/o timeout":                          "did not answer",
		"transport: Error while dialing: dial tcp: i/o timeout":                        "did not answer",
		"context deadline exceeded":                                                    "did not answer",
		"transport: Error while dialing: dial tcp: connect: connection refused":        "cannot be reached",
		"error reading server preface: EOF":                                            "may require https",
		"error reading from server: read tcp: connection reset by peer":                "check that it runs",
		"error reading from server: write tcp: broken pipe":                            "check that it runs",
	} {
		err := status.Errorf(codes.Unavailable, "connection error: desc = %q", text)
		if _, cause := s.cause(err); !strings.Contains(cause, want) {
			t.Errorf("%s\nis explained as: %s\nwant %q", text, cause, want)
		}
	}
}

// TestListJumpsOverFolders: a folder with many keys costs as much as one with one.
func TestListJumpsOverFolders(t *testing.T) {
	t.Parallel()
	s, _ := start(t, etcdtest.Options{}, nil)
	var keys, folders, flat []string
	for i := range 30 {
		folder := fmt.Sprintf("f%02d/", i)
		folders = append(folders, folder)
		for j := range 150 {
			keys = append(keys, fmt.Sprintf("%sk%03d", folder, j))
		}
	}
	for i := range 2500 {
		name := fmt.Sprintf("%04d", i)
		keys, flat = append(keys, "flat/"+name), append(flat, name)
	}
	fill(t, s, keys, func(string) []byte { return nil })
	l := s.members[0].link.Load()
	count := &counting{KVClient: l.kv}
	s.members[0].link.Store(&link{client: l.client, kv: count})
	list := func(prefix, after string, limit int, want []string, ranges, transferred int64) {
		t.Helper()
		count.reset()
		got, err := s.List(t.Context(), prefix, after, limit)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("List(%q, %q, %d): %d names, %v; want %d", prefix, after, limit, len(got), err, len(want))
		}
		if count.ranges.Load() > ranges || count.keys.Load() > transferred || count.most.Load() > maxPage {
			t.Errorf("List(%q, %q, %d): %d requests brought %d keys, %d at most; want %d and %d",
				prefix, after, limit, count.ranges.Load(), count.keys.Load(), count.most.Load(), ranges, transferred)
		}
	}
	list("", "", 0, append(slices.Clone(folders), "flat/"), 34, 260)
	list("flat/", "", 0, flat, 8, 2500)
	list("flat/", "1000", 10, flat[1001:1011], 1, 11)
	list("", "f10/", 1, folders[11:12], 1, 2)
	list("nothing/", "", 0, []string{}, 1, 64)
}

func TestSnapshotPages(t *testing.T) {
	t.Parallel()
	s, server := start(t, etcdtest.Options{}, nil)
	var keys []string
	for i := range 700 {
		keys = append(keys, fmt.Sprintf("k%04d", i))
	}
	value := func(key string) []byte {
		if key < "k0600" {
			return []byte(key)
		}
		return bytes.Repeat([]byte(key), 3000) // 15 KB
	}
	fill(t, s, keys, value)
	var seen []string
	err := s.Snapshot(t.Context(), func(key string, got []byte) error {
		seen = append(seen, key)
		if !bytes.Equal(got, value(key)) {
			return fmt.Errorf("%s holds %d bytes", key, len(got))
		}
		return nil
	})
	if err != nil || !slices.Equal(seen, keys) {
		t.Errorf("%d entries, %v; want %d", len(seen), err, len(keys))
	}
	err = s.Snapshot(t.Context(), func(key string, _ []byte) error {
		if key == keys[0] {
			fill(t, s, []string{"later"}, value)
			server.Compact()
		}
		return nil
	})
	if !errors.Is(err, errCompacted) || !strings.Contains(err.Error(), "try again") {
		t.Errorf("the history was removed meanwhile: %v", err)
	}
}

// TestLargestCommit: what the contract allows fits into etcd's limits, with all that this package
// adds.
func TestLargestCommit(t *testing.T) {
	t.Parallel()
	s, _ := start(t, etcdtest.Options{}, func(o *Options) { o.Path = strings.Repeat("p", maxPath-2) })
	leadership, err := s.Campaign(t.Context(), bytes.Repeat([]byte{7}, maxIdentity))
	if err != nil {
		t.Fatal(err)
	}
	long := func(i int) string { return fmt.Sprintf("%04d", i) + strings.Repeat("k", storage.MaxKey-4) }
	b := storage.Batch{Epoch: leadership.Epoch()}
	size := 0
	for i := range storage.MaxOps / 2 {
		b.If = append(b.If, storage.IfAbsent(long(i)))
		b.Ops = append(b.Ops, storage.Put(long(i), nil))
		size += 2 * storage.MaxKey
	}
	b.Ops[0].Value = bytes.Repeat([]byte{1}, storage.MaxBytes-size)
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), b); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("again: %v", err)
	}
	var many storage.Batch
	for i := range storage.MaxOps {
		many.If = append(many.If, storage.IfAbsent(fmt.Sprint("absent", i)))
	}
	if err := s.Commit(t.Context(), many); err != nil {
		t.Errorf("conditions alone: %v", err)
	}
}

func TestCompaction(t *testing.T) {
	t.Parallel()
	s, server := start(t, etcdtest.Options{}, nil)
	client := server.Client()
	write := func() int64 {
		resp, err := client.Put(t.Context(), "/x", "y")
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}
	w := s.sweeper()
	defer w.stop()
	first := write()
	w.observe(first)
	w.compact(t.Context()) // nothing is old enough
	second := write()
	w.observe(second)
	if _, err := client.Get(t.Context(), "/x", clientv3.WithRev(first)); err != nil {
		t.Fatalf("history went too early: %v", err)
	}
	w.compact(t.Context())
	third := write()
	if _, err := client.Get(t.Context(), "/x", clientv3.WithRev(first-1)); err == nil {
		t.Error("old history is still there")
	}
	if _, err := client.Get(t.Context(), "/x", clientv3.WithRev(second)); err != nil {
		t.Errorf("young history is gone: %v", err)
	}
	w.observe(third)
	server.Compact() // another client
	w.compact(t.Context())
	s.o.DisableCompaction = true
	if s.sweeper().due() != nil {
		t.Error("compaction cannot be disabled")
	}
}

// TestCompactionDenied is said once, with the remedy.
func TestCompactionDenied(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, _ := start(t, etcdtest.Options{Auth: true}, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	w := s.sweeper()
	defer w.stop()
	for range 3 {
		w.observe(2)
		w.compact(t.Context())
	}
	if n := strings.Count(log.String(), "--auto-compaction-retention"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// TestUserThatNobodyAsksFor is said loudly.
func TestUserThatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	start(t, etcdtest.Options{}, func(o *Options) {
		o.Username, o.Password, o.Log = "u", "hunter2", slog.New(slog.NewTextHandler(&log, nil))
	})
	if !strings.Contains(log.String(), "etcdctl auth enable") || strings.Contains(log.String(), "hunter2") {
		t.Errorf("log: %s", log.String())
	}
}

func TestLastOnEachKey(t *testing.T) {
	t.Parallel()
	ops := []storage.Op{
		storage.Put("a", []byte("1")), storage.Put("b", nil), storage.Delete("a"), storage.Put("c", nil),
		storage.Put("a", []byte("2")),
	}
	got := lastOnEachKey(ops)
	if len(got) != 3 || got[0].Key != "b" || got[1].Key != "c" || got[2].Key != "a" || string(got[2].Value) != "2" {
		t.Errorf("%+v", got)
	}
}

// TestLeaderRecord pins the format.
func TestLeaderRecord(t *testing.T) {
	t.Parallel()
	b := encodeLeader(1500*time.Millisecond, []byte("node a"))
	if got := hex.EncodeToString(b); got != "01000005dc6e6f64652061" {
		t.Errorf("%s", got)
	}
	for _, bad := range [][]byte{
		nil, {1}, {1, 0, 0, 0}, {1, 0, 0, 0, 0}, {2, 0, 0, 5, 220}, {1, 255, 255, 255, 255},
		make([]byte, leaderHead+maxIdentity+1),
	} {
		if _, _, err := decodeLeader(bad); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%x: %v", bad[:min(len(bad), 8)], err)
		}
	}
}

func FuzzLeaderRecord(f *testing.F) {
	f.Add(encodeLeader(time.Second, []byte("node a")))
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		ttl, identity, err := decodeLeader(b)
		if err == nil && !bytes.Equal(encodeLeader(ttl, identity), b) {
			t.Errorf("%x is read as %s, %x", b, ttl, identity)
		}
	})
}
