package etcd_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// TestLookOnly: who only looks marks no path, and reads one that is there.
func TestLookOnly(t *testing.T) {
	t.Parallel()
	mark := options(etcdtest.Start(t, etcdtest.Options{NoSync: true}))
	look := mark
	look.ReadOnly, look.DisableCompaction = true, true
	for range 2 {
		if s, err := etcd.Open(t.Context(), look); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(s, err)
		}
	}
	s := open(t, mark)
	if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("a", []byte("1"))}}); err != nil {
		t.Fatal(err)
	}
	if v, err := open(t, look).Get(t.Context(), "a"); err != nil || string(v) != "1" {
		t.Errorf("%q, %v", v, err)
	}
}
