package node

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// CompactStorage rewrites the storage of an active node without its free space, and returns its
// size in bytes before and after.
func CompactStorage(ctx context.Context, n *Node) (before, after int64, err error) {
	if _, err := n.Role(); err != nil {
		return 0, 0, err
	}
	c, ok := n.cfg.Store.(storage.Compactor)
	if ok {
		before, after, err = c.Compact(ctx)
	}
	switch {
	case !ok, errors.Is(err, errors.ErrUnsupported):
		return 0, 0, fault.New(fault.Invalid, "the storage %q is not compacted by Sealgate: it has a maintenance of its own",
			n.cfg.StorageType)
	case errors.Is(err, storage.ErrBusy):
		return 0, 0, fault.Wrap(err, fault.Unavailable,
			"the storage is being compacted already, or a snapshot is being made; try again after that")
	case err != nil:
		return 0, 0, barrier.Fault(err, "the storage was not compacted")
	}
	n.log.Info("the storage is compacted", "bytes_before", before, "bytes_after", after)
	return before, after, nil
}
