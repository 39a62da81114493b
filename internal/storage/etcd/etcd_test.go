package etcd_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

const (
	patience   = time.Minute     // bounds what takes a moment
	busy       = 5 * time.Second // a timeout that must end, and in which a busy machine answers
	shortLease = 3 * time.Second // one that must end, and that a busy machine renews
	longLease  = time.Minute     // one that does not end in a test
)

// TestMain: the store uses no net/http; what is left of it is between the members of a cluster that
// was stopped.
func TestMain(m *testing.M) {
	var members []goleak.Option
	for _, f := range []string{"(*persistConn).readLoop", "(*persistConn).writeLoop", "(*conn).serve",
		"(*connReader).backgroundRead"} {
		members = append(members, goleak.IgnoreAnyFunction("net/http."+f))
	}
	goleak.VerifyTestMain(m, members...)
}

// paths keeps the tests that share a server apart.
var paths atomic.Int64

func options(c *etcdtest.Cluster) etcd.Options {
	return etcd.Options{Endpoints: c.Endpoints, Path: fmt.Sprint("/test/", paths.Add(1)),
		LeaseTTL: longLease, RequestTimeout: patience, OutageTimeout: patience}
}

func open(t testing.TB, o etcd.Options) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	storagetest.Run(t, func(*testing.T) storagetest.Harness {
		o := options(server)
		o.LeaseTTL = shortLease // a store that is closed does not resign
		return storagetest.Harness{Shared: true, Open: func() (storage.Store, error) { return etcd.Open(t.Context(), o) }}
	})
}
