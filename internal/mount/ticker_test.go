package mount_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// clockwork is a backend with periodic work and a cache.
type clockwork struct {
	ticks   atomic.Int64
	fails   atomic.Bool
	changed chan string
}

func (*clockwork) Handle(context.Context, *mount.Request) (*mount.Response, error) { return nil, nil }

func (c *clockwork) Tick(context.Context) error {
	c.ticks.Add(1)
	if c.fails.Load() {
		return errors.New("not now")
	}
	return nil
}

func (c *clockwork) Invalidate(key string) { c.changed <- key }

func clockworkTable(t *testing.T) (*mount.Table, *clockwork) {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	c := &clockwork{changed: make(chan string, 10)}
	o := mount.Options{Factories: map[string]mount.Factory{
		"transit": func(mount.Storage, mount.Entry) (mount.Backend, error) { return c, nil },
		"kv":      newShelf,
	}}
	ops, err := mount.Format(nil, mount.Entry{Path: "kv/", Type: "kv"}, mount.Entry{Path: "transit/", Type: "transit"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	table, err := mount.Open(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	return table, c
}

// TestTicks: a backend with periodic work is called each minute, also after an error, and not after
// the end of Run.
func TestTicks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, c := clockworkTable(t)
		stop := run(t, table)
		time.Sleep(3*time.Minute + time.Second) // of the test's own time
		c.fails.Store(true)
		time.Sleep(2 * time.Minute)
		if n := c.ticks.Load(); n != 5 {
			t.Errorf("%d ticks in five minutes", n)
		}
		stop()
		time.Sleep(5 * time.Minute)
		if n := c.ticks.Load(); n != 5 {
			t.Errorf("%d ticks after the end", n-5)
		}
	})
}

// TestInvalidate: a changed entry is reported to the backend of its mount, by its key below the
// mount.
func TestInvalidate(t *testing.T) {
	t.Parallel()
	table, c := clockworkTable(t)
	e, ok := table.Get("transit")
	other, ok2 := table.Get("kv")
	if !ok || !ok2 {
		t.Fatal("not mounted")
	}
	for _, key := range []string{
		"logical/" + other.UUID + "/k/a", "logical/none/k/a", "core/mounts", "logical/" + e.UUID + "/k/a",
	} {
		table.Invalidate(key)
	}
	if len(c.changed) != 1 {
		t.Fatalf("%d reports", len(c.changed))
	}
	if key := <-c.changed; key != "k/a" {
		t.Errorf("reported %q", key)
	}
}
