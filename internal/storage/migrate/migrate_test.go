package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

func options() Options { return Options{Now: time.Now, Rand: rand.Reader} }

func fill(t *testing.T, s storage.Store) {
	t.Helper()
	for i := range 500 {
		put(t, s, fmt.Sprintf("logical/%04d", i), strings.Repeat("x", 4000))
	}
	put(t, s, "big", strings.Repeat("y", storage.MaxBytes-3))
	put(t, s, "core/seal", "sealed")
}

func put(t *testing.T, s storage.Store, key, value string) {
	t.Helper()
	if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte(value))}}); err != nil {
		t.Fatal(err)
	}
}

// unmarked fails where a store is still marked, or not the same as another.
func unmarked(t *testing.T, from, to storage.Store) {
	t.Helper()
	if err := same(t.Context(), from, to, ""); err != nil {
		t.Error(err)
	}
	for _, s := range []storage.Store{from, to} {
		if m, err := readMark(t.Context(), s); m != nil || err != nil {
			t.Errorf("a mark is left: %+v, %v", m, err)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	from := inmem.New()
	fill(t, from)
	to, err := bbolt.Open(t.Context(), filepath.Join(t.TempDir(), "data"), bbolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	o := options()
	var reports int
	o.Progress = func(Progress) { reports++ }
	done, err := Run(t.Context(), from, to, o)
	if err != nil || done.Entries != 502 || reports < 8 {
		t.Errorf("Run = %+v, %v after %d reports", done, err, reports)
	}
	unmarked(t, from, to)
	if _, err := Run(t.Context(), from, to, options()); !errors.Is(err, ErrOccupied) {
		t.Errorf("over data: %v", err)
	}
}

// failing gives up after some commits.
type failing struct {
	*inmem.Store
	left int
}

var errDied = errors.New("died")

func (f *failing) Commit(ctx context.Context, b storage.Batch) error {
	if f.left == 0 {
		return errDied
	}
	f.left--
	return f.Store.Commit(ctx, b)
}

// TestInterrupted stops a migration before every commit on either side, and resumes it.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for commits := 0; ; commits++ {
		from, to := &failing{Store: inmem.New(), left: -1}, &failing{Store: inmem.New(), left: -1}
		fill(t, from)
		from.left, to.left = commits, commits
		_, err := Run(t.Context(), from, to, options())
		if err == nil {
			break
		}
		if !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		if commits > 0 { // a server must not start on half a copy, nor on what is being copied
			for name, s := range map[string]storage.Store{"source": from, "destination": to} {
				if m, err := readMark(t.Context(), s); err != nil || m == nil && name == "source" && commits < 2 {
					t.Fatalf("after %d commits the %s is marked %v, %v", commits, name, m, err)
				}
			}
		}
		from.left, to.left = -1, -1
		if _, err := Run(t.Context(), from, to, options()); err != nil {
			// Only where it had come to taking the marks away is there nothing to continue with.
			m, merr := readMark(t.Context(), to)
			if !errors.Is(err, ErrOccupied) || m != nil || merr != nil || same(t.Context(), from, to, "") != nil {
				t.Fatalf("going on after %d commits: %v", commits, err)
			}
			continue
		}
		unmarked(t, from, to)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	hub := inmem.NewHub()
	served := hub.Open()
	if _, err := served.Campaign(t.Context(), []byte("a server")); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), hub.Open(), inmem.New(), options()); !errors.Is(err, ErrServed) {
		t.Errorf("from under a server: %v", err)
	}
	if _, err := Run(t.Context(), inmem.New(), hub.Open(), options()); !errors.Is(err, ErrServed) {
		t.Errorf("to a served store: %v", err)
	}
	marked := inmem.New()
	put(t, marked, snapshot.MigrationKey, `{"v":1,"id":"other","role":"destination"}`)
	for name, stores := range map[string][2]storage.Store{"source": {marked, inmem.New()},
		"destination": {inmem.New(), marked}} {
		if _, err := Run(t.Context(), stores[0], stores[1], options()); !errors.Is(err, ErrOther) {
			t.Errorf("marked %s: %v", name, err)
		}
	}
	if err := Reset(t.Context(), marked); err != nil {
		t.Fatal(err)
	}
	if m, err := readMark(t.Context(), marked); m != nil || err != nil {
		t.Errorf("after Reset: %v, %v", m, err)
	}
	put(t, marked, snapshot.MigrationKey, "garbage")
	if _, err := Run(t.Context(), marked, inmem.New(), options()); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a broken mark: %v", err)
	}
}

// TestStart leaves out what comes before a key.
func TestStart(t *testing.T) {
	t.Parallel()
	from, to := inmem.New(), inmem.New()
	for _, key := range []string{"a", "b", "c"} {
		put(t, from, key, key)
	}
	o := options()
	o.Start = "b"
	if done, err := Run(t.Context(), from, to, o); err != nil || done.Entries != 2 {
		t.Errorf("Run = %+v, %v", done, err)
	}
	if _, err := to.Get(t.Context(), "a"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a: %v", err)
	}
}
