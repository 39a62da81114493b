package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// Commit implements storage.Store. If ctx ends while etcd has the batch, the outcome is unknown.
func (s *Store) Commit(ctx context.Context, b storage.Batch) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.commits.Done()
	limited, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.o.RequestTimeout) // Close waits for it
	defer cancel()
	failpoint.Point("storage.commit.before")
	resp, err := s.send(limited, s.transaction(b))
	switch {
	case err == nil && resp.Succeeded:
		failpoint.Point("storage.commit.after")
		return nil
	case err == nil:
		return s.refused(b, resp)
	case is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w for etcd: start it with --max-request-bytes=1572864, its default, or more", storage.ErrTooLarge)
	case is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w for etcd: start it with --max-txn-ops=128, its default, or more", storage.ErrTooLarge)
	}
	return s.explain(ctx, "committing", err)
}

// transaction converts a batch. It has at most MaxOps + 1 comparisons and MaxOps + 1 operations:
// etcd allows 128 of each.
func (s *Store) transaction(b storage.Batch) *pb.TxnRequest {
	t := &pb.TxnRequest{
		Compare: make([]*pb.Compare, 0, len(b.If)+1),
		Success: make([]*pb.RequestOp, 0, len(b.Ops)+1),
	}
	if b.Epoch != 0 {
		t.Compare = append(t.Compare, written(s.keys.leader, int64(b.Epoch)))
		t.Failure = []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: s.keys.leader, KeysOnly: true})}
	}
	for _, c := range b.If {
		if c.Absent {
			t.Compare = append(t.Compare, absent(s.keys.of(c.Key)))
		} else {
			t.Compare = append(t.Compare, holds(s.keys.of(c.Key), c.Value))
		}
	}
	for _, op := range lastOnEachKey(b.Ops) {
		if op.Delete {
			t.Success = append(t.Success, deleteOp(s.keys.of(op.Key)))
		} else {
			t.Success = append(t.Success, putOp(s.keys.of(op.Key), op.Value))
		}
	}
	if len(t.Success) > 0 {
		t.Success = append(t.Success, putOp(s.keys.commit, nil))
	}
	return t
}

// lastOnEachKey drops overwritten operations: etcd accepts one for each key.
func lastOnEachKey(ops []storage.Op) []storage.Op {
	if len(ops) < 2 {
		return ops
	}
	last := make(map[string]int, len(ops))
	for i, op := range ops {
		last[op.Key] = i
	}
	if len(last) == len(ops) {
		return ops
	}
	kept := make([]storage.Op, 0, len(last))
	for i, op := range ops {
		if last[op.Key] == i {
			kept = append(kept, op)
		}
	}
	return kept
}

// refused returns which comparison failed, from what the same transaction read.
func (s *Store) refused(b storage.Batch, resp *pb.TxnResponse) error {
	if b.Epoch != 0 {
		leader := resp.Responses[0].GetResponseRange().Kvs
		if len(leader) == 0 || leader[0].ModRevision != int64(b.Epoch) {
			return fmt.Errorf("%w: epoch %d has ended", storage.ErrFenced, b.Epoch)
		}
	}
	if len(b.If) == 1 {
		return fmt.Errorf("%w: %q", storage.ErrConflict, b.If[0].Key)
	}
	return fmt.Errorf("%w: one of %d keys", storage.ErrConflict, len(b.If))
}
