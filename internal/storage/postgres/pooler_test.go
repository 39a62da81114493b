package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

// TestConformanceBehindPgBouncer runs the suite through PgBouncer in transaction mode, where each
// transaction may run on another server process.
func TestConformanceBehindPgBouncer(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		url := pgtest.Bouncer(t, pgtest.Database(t))
		return storagetest.Harness{Shared: true,
			Open: func() (storage.Store, error) { return Open(context.Background(), Options{URL: url, Lease: longLease}) }}
	})
}

// TestManyNodesBehindPgBouncer: nodes start one after the other, commit and restart. The second one
// found the prepared statements of the first.
func TestManyNodesBehindPgBouncer(t *testing.T) {
	t.Parallel()
	url := pgtest.Bouncer(t, pgtest.Database(t))
	var log logBuffer
	first := open(t, Options{URL: url, Log: log.logger()})
	if !first.pooled || !strings.Contains(log.String(), "connection pooler") {
		t.Errorf("the pooler was not noticed: %s", log.String())
	}
	for i := range 6 {
		s := open(t, Options{URL: url, Lease: longLease})
		l := campaign(t, s, "node")
		if err := s.Commit(t.Context(), storage.Batch{Epoch: l.Epoch(),
			Ops: []storage.Op{storage.Put("k", []byte{byte(i)}), storage.Delete("gone")},
			If:  []storage.Condition{storage.IfAbsent("absent")}}); err != nil {
			t.Fatal(err)
		}
		holds(t, first, "k", string([]byte{byte(i)}))
		if err := l.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDirectConnectionIsNoPooler: prepared statements stay where they work, unless connection_url
// refuses them.
func TestDirectConnectionIsNoPooler(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	if s := open(t, Options{URL: url}); s.pooled {
		t.Error("a direct connection was taken for a pooler's")
	}
	s := open(t, Options{URL: url + "&default_query_exec_mode=cache_describe"})
	if !s.pooled {
		t.Error("default_query_exec_mode has no effect")
	}
	put(t, s, "k", "v")
	holds(t, s, "k", "v")
}
