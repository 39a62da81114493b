package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// login makes a token by a path.
func (h *harness) login(path string) *Created {
	h.t.Helper()
	c, err := h.Login(h.t.Context(), LoginRequest{Path: path, TTL: time.Hour, Max: time.Hour, Policies: []string{"p"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *harness) names(prefix string, limit int) (int, bool) {
	h.t.Helper()
	names, more, err := h.LeaseNames(h.t.Context(), prefix, limit)
	if err != nil || !slices.IsSorted(names) {
		h.t.Fatalf("%q: %v", names, err)
	}
	return len(names), more
}

// older makes the store one that was written before there was an index.
func (h *harness) older() {
	h.t.Helper()
	var ops []storage.Op
	err := h.disk.Snapshot(h.t.Context(), func(key string, _ []byte) error {
		if strings.HasPrefix(key, "auth/lease") {
			ops = append(ops, storage.Delete(key))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.disk.Commit(h.t.Context(), storage.Batch{Ops: ops}); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

func TestLeasesAreFoundByTheirPaths(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"", "older", "older, indexed since"} {
		h := newHarness(t)
		long := "auth/a/login/" + strings.Repeat("n", 2040)
		a1, a2, b1, far := h.login("auth/a/login/x"), h.login("auth/a/login/y"), h.login("auth/b/login/x"), h.login(long)
		if old != "" {
			h.older()
		}
		if old == "older, indexed since" {
			if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.open()
		}
		for _, tc := range []struct {
			prefix string
			limit  int
			want   int
			more   bool
		}{{"", 9, 1, false}, {"auth/", 9, 2, false}, {"auth/a/login/", 9, 3, false}, {"auth/a/login/x/", 9, 1, false},
			{"auth/", 1, 1, true}, {"auth/c/", 9, 0, false}} {
			if n, more := h.names(tc.prefix, tc.limit); n != tc.want || more != tc.more {
				t.Errorf("%s: below %q there are %d (more: %v), want %d", old, tc.prefix, n, more, tc.want)
			}
		}
		if err := h.RevokePath(t.Context(), "auth/a/", start.Add(-time.Second)); err != nil || !h.lives(a1.Text) {
			t.Errorf("%s: what was made later is revoked: %v", old, err)
		}
		if err := h.RevokePath(t.Context(), "auth/a/", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if h.lives(a1.Text) || h.lives(a2.Text) || h.lives(far.Text) || !h.lives(b1.Text) {
			t.Errorf("%s: revoking a path ended the wrong tokens", old)
		}
		if n, _ := h.names("auth/a/login/", 9); n != 0 {
			t.Errorf("%s: %d leases are left", old, n)
		}
		if err := h.RevokePath(t.Context(), "auth/b/", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.left(); got != onlyRoot {
			t.Errorf("%s: left are %s", old, got)
		}
	}
}

func TestManyChildrenAreRemovedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	top := h.make(h.root, CreateRequest{})
	parent := h.mustIdentify(top.Text)
	for i := range 300 {
		child := h.mustIdentify(h.make(parent, CreateRequest{TTL: time.Hour}).Text)
		if i%100 == 0 {
			h.make(child, CreateRequest{TTL: time.Minute})
		}
	}
	if err := h.Revoke(t.Context(), top.Text); err != nil {
		t.Fatal(err)
	}
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.left(); got != onlyRoot {
		t.Errorf("left are %s", got)
	}
	if n := len(h.ended); n < 301 {
		t.Errorf("%d ends were reported", n)
	}
}

func TestInParallel(t *testing.T) {
	t.Parallel()
	items := make([]int, 1003)
	for i := range items {
		items[i] = i
	}
	var sum atomic.Int64
	if err := inParallel(items, 7, func(some []int) error {
		for _, i := range some {
			sum.Add(int64(i))
		}
		return nil
	}); err != nil || sum.Load() != 1003*1002/2 {
		t.Errorf("the sum is %d, %v", sum.Load(), err)
	}
	bad := errors.New("bad")
	if err := inParallel(items, 1, func(some []int) error {
		if some[0] == 500 {
			return bad
		}
		return nil
	}); !errors.Is(err, bad) {
		t.Errorf("the error is %v", err)
	}
	if err := inParallel(nil, 5, func([]int) error { return bad }); err != nil {
		t.Error(err)
	}
}

// BenchmarkRevokePath ends a hundred of 20,000 tokens by their path: what others there are costs
// nothing.
func BenchmarkRevokePath(b *testing.B) {
	h, _, _ := crowd(b, 20_000)
	for b.Loop() {
		b.StopTimer()
		for i := range 100 {
			h.login(fmt.Sprintf("auth/few/login/%d", i))
		}
		b.StartTimer()
		if err := h.RevokePath(context.Background(), "auth/few/", time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
