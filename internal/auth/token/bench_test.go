package token

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
)

// BenchmarkAuthorizeByPolicies is one request with 50 policies of 200 rules: at most 1 us and no
// allocation.
func BenchmarkAuthorizeByPolicies(b *testing.B) {
	h := newHarness(b)
	var names []string
	for i := range 50 {
		var text strings.Builder
		for j := range 100 {
			fmt.Fprintf(&text, "path \"kv/team-%d/app-%d/*\" { capabilities = [\"read\", \"update\"] }\n", i, j)
			fmt.Fprintf(&text, "path \"kv/team-%d/+/config-%d\" { capabilities = [\"read\"] }\n", i, j)
		}
		names = append(names, fmt.Sprintf("team-%d", i))
		if err := h.WritePolicy(b.Context(), PolicyWrite{Name: names[i], Text: text.String()}); err != nil {
			b.Fatal(err)
		}
	}
	token := h.make(h.root, CreateRequest{Policies: names}).Text
	need := Need{Path: "kv/team-31/app-17/db/password", Capability: Read}
	if _, err := h.Authorize(b.Context(), token, need); err != nil { // compiles the policies
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Authorize(b.Context(), token, need); err != nil {
			b.Fatal(err)
		}
	}
}

// crowd is a store behind a barrier on a disk, with a token that has n children.
func crowd(b *testing.B, n int) (*harness, *barrier.Barrier, string) {
	b.Helper()
	disk, err := bbolt.Open(b.Context(), filepath.Join(b.TempDir(), "db"), bbolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = disk.Close() })
	root, err := secret.Random(rand.Reader, 32)
	if err != nil {
		b.Fatal(err)
	}
	wall, tx, err := barrier.Format(disk, root, 1, barrier.Options{})
	if err != nil {
		b.Fatal(err)
	}
	f, err := Format(nil, start)
	if err != nil {
		b.Fatal(err)
	}
	for _, op := range f.Ops {
		tx.Put(op.Key, op.Value)
	}
	if err := tx.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	h := &harness{t: b, clock: &clock{now: start}}
	if h.Store, err = Open(b.Context(), wall, Options{Now: h.clock.Now}); err != nil {
		b.Fatal(err)
	}
	h.root = h.mustIdentify(f.RootToken)
	top := h.make(h.root, CreateRequest{})
	parent := h.mustIdentify(top.Text).entry.digest
	var batch storage.Batch
	for i := range n {
		t := &Token{Type: TypeService, Accessor: fmt.Sprint("accessor", i), Path: "auth/token/create", Parent: parent[:],
			Policies: []string{"default"}, Created: start, TTL: time.Hour,
			Expires: start.Add(time.Hour + time.Duration(i)*time.Millisecond), Renewable: true}
		record, err := t.Marshal()
		if err != nil {
			b.Fatal(err)
		}
		d := h.digest(fmt.Sprint("token", i))
		batch.Ops = append(batch.Ops, storage.Put(tokenKey(d), record),
			storage.Put(h.accessorKey(t.Accessor), marshalAccessor(d)),
			storage.Put(childKey(parent, d), mark), storage.Put(expiryKey(t.Expires, d), mark),
			storage.Put(leaseKey(t, d), mark))
		if len(batch.Ops) > maxOps-5 || i == n-1 {
			if err := wall.Commit(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch.Ops = nil
		}
	}
	return h, wall, top.Text
}

// BenchmarkRevokeTree revokes a token with 100,000 children: what the caller waits for, after which
// none of them can be used; and how long the clean-up takes that removes what is left of them,
// while others ask for tokens all the time.
func BenchmarkRevokeTree(b *testing.B) {
	const n = 100_000
	h, wall, top := crowd(b, n)
	begun := time.Now()
	again, err := Open(b.Context(), wall, Options{Now: h.clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	opening := time.Since(begun)
	b.ResetTimer()
	begun = time.Now()
	if err := again.Revoke(b.Context(), top); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(opening.Microseconds())/1000, "ms/open") // however many tokens there are
	b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "ms/revoke")
	for i := 0; i < n; i += 1000 {
		if _, err := again.Identify(b.Context(), fmt.Sprint("token", i)); err == nil {
			b.Fatal("a child lives")
		}
	}
	done := make(chan error, 1)
	begun = time.Now()
	go func() { done <- (sweeper{again}).clean(b.Context()) }()
	reads := 0
	for ; len(done) == 0; reads++ {
		if _, err := again.Authorize(b.Context(), "token-that-is-not-there", Need{Path: "x", Capability: Read}); err == nil {
			b.Fatal("allowed")
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	took := time.Since(begun).Seconds()
	left, err := wall.List(b.Context(), tokenPrefix, "", 0)
	if err != nil || len(left) != 1 {
		b.Fatalf("%d tokens are left, %v", len(left), err)
	}
	b.ReportMetric(took, "s/clean-up")
	b.ReportMetric(n/took, "removed/s")
	b.ReportMetric(float64(reads)/took, "reads/s")
}
