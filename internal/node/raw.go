package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/storage"
)

// Raw reads and writes entries behind the barrier by their path.
type Raw struct{ b *barrier.Barrier }

// protected are the records that decide who gets a key, or that prove what was done with one: raw
// access neither reads nor writes them. A name that ends in a slash covers everything below it.
var protected = []string{
	keySealed, keyShareCounts, keyBreakGlass, barrier.KeyringPath, ha.LeaderPath, pathCluster, pathShareSet,
	"core/transcript/", "core/ceremony/", "core/answer/", "core/backup/", "core/proven/", "core/root-handover/",
	pathTrials, pathSealKeys, pathSnapshots, "core/snapshot/",
	"core/encryptions", "core/key-census", pathRewrapJob,
}

func isProtected(path string) bool {
	return slices.ContainsFunc(protected, func(p string) bool {
		return path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p)
	})
}

func checkRaw(path string) error {
	if isProtected(path) {
		return fault.New(fault.Invalid, "cannot access %q", path)
	}
	if err := storage.CheckKey(path); err != nil {
		return fault.New(fault.Invalid, "%v", err)
	}
	return nil
}

// Get returns the entry at a path, or a fault of kind NotFound.
func (r *Raw) Get(ctx context.Context, path string) ([]byte, error) {
	if err := checkRaw(path); err != nil {
		return nil, err
	}
	v, err := r.b.Get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, fault.New(fault.NotFound, "")
	case errors.Is(err, storage.ErrCorrupt):
		return nil, fault.Wrap(err, fault.Internal, "the entry %q is damaged: %v", path, err)
	}
	return v, barrier.Fault(err, fmt.Sprintf("%q could not be read", path))
}

// List returns the names below a prefix.
func (r *Raw) List(ctx context.Context, prefix string) ([]string, error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, fault.New(fault.Invalid, "%v", err)
	}
	names, err := r.b.List(ctx, prefix, "", 0)
	return names, barrier.Fault(err, fmt.Sprintf("%q could not be listed", prefix))
}

// Put writes an entry.
func (r *Raw) Put(ctx context.Context, path string, value []byte) error {
	if err := checkRaw(path); err != nil {
		return err
	}
	err := r.b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(path, value)}})
	return barrier.Fault(err, fmt.Sprintf("%q could not be written", path))
}

// Delete removes an entry.
func (r *Raw) Delete(ctx context.Context, path string) error {
	if err := checkRaw(path); err != nil {
		return err
	}
	err := r.b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(path)}})
	return barrier.Fault(err, fmt.Sprintf("%q could not be deleted", path))
}
