package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
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
	if len(b.Ops) == 0 { // it changes nothing, however often it is executed
		return s.commit(ctx, limited, b, nil)
	}
	at := s.slots.take(s.keys.slots)
	defer s.slots.give(at)
	return s.commit(ctx, limited, b, at)
}

// commit executes a batch with the slot that it uses, nil if it needs none.
func (s *Store) commit(ctx, limited context.Context, b storage.Batch, at *slot) error {
	mark, sent := s.marks.next(), copies{}
	for {
		highest, _ := s.Acknowledged()
		resp, c, err := s.send(limited, "committing", s.transaction(b, at, mark))
		sent.sent, sent.open = sent.sent+c.sent, sent.open+c.open
		switch {
		case err != nil:
			return s.commitError(ctx, err, sent)
		case resp.Succeeded:
			if at != nil {
				at.mark = mark
				s.Note(highest, uint64(resp.Header.Revision))
			}
			before(b, resp)
			failpoint.Point("storage.commit.after")
			return nil
		case at == nil:
			return s.refused(b, resp)
		}
		again, err := s.judge(limited, b, resp, at, mark, sent)
		if !again {
			return err
		}
	}
}

// judge decides about a commit that a member refused. again: only the slot's mark was not the
// expected one, which is now known.
func (s *Store) judge(ctx context.Context, b storage.Batch, resp *pb.TxnResponse, at *slot, mark []byte,
	sent copies) (again bool, err error) {
	found := valueOf(resp.Responses[len(resp.Responses)-1])
	expected := bytes.Equal(found, at.mark) && (found == nil) == (at.mark == nil)
	if !expected {
		at.mark = found
	}
	fenced := errors.Is(s.refused(b, resp), storage.ErrFenced)
	switch {
	case bytes.Equal(found, mark): // another copy was executed
		failpoint.Point("storage.commit.after")
		return false, nil
	case !expected && sent.sent > 1 && (b.Epoch == 0 || fenced):
		return false, errUnknownOutcome("another node has committed since")
	case fenced:
		return false, s.refused(b, resp)
	case !expected:
		return true, nil
	case sent.open > 0:
		executed, err := s.settle(ctx, at, mark)
		if executed || err != nil {
			return false, err
		}
	}
	return false, s.refused(b, resp)
}

// commitError explains an error of a commit.
func (s *Store) commitError(ctx context.Context, err error, sent copies) error {
	err2 := s.explain(ctx, "committing", err)
	switch {
	case isAny(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w for etcd: start it with --max-request-bytes=1572864, its default, or more", storage.ErrTooLarge)
	case isAny(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w for etcd: start it with --max-txn-ops=128, its default, or more", storage.ErrTooLarge)
	case sent.open > 0 && storage.NothingWritten(err2):
		return errUnknownOutcome(err2.Error())
	}
	return err2
}

// transaction converts a batch. It has at most MaxOps + 2 comparisons and MaxOps + 2 operations:
// etcd allows 128 of each.
func (s *Store) transaction(b storage.Batch, at *slot, mark []byte) *pb.TxnRequest {
	t := &pb.TxnRequest{
		Compare: make([]*pb.Compare, 0, len(b.If)+2),
		Success: make([]*pb.RequestOp, 0, len(b.Ops)+2),
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
		next := putOp(s.keys.of(op.Key), op.Value)
		if op.Delete {
			next = deleteOp(s.keys.of(op.Key))
		}
		if b.Before != nil {
			showPrevious(next)
		}
		t.Success = append(t.Success, next)
	}
	if at != nil {
		t.Compare = append(t.Compare, at.unchanged())
		t.Success = append(t.Success, putOp(s.keys.commit, nil), putOp(at.key, mark))
		t.Failure = append(t.Failure, rangeOp(&pb.RangeRequest{Key: at.key}))
	}
	return t
}

// showPrevious makes etcd answer with what an operation replaces.
func showPrevious(op *pb.RequestOp) {
	if put := op.GetRequestPut(); put != nil {
		put.PrevKv = true
	}
	if remove := op.GetRequestDeleteRange(); remove != nil {
		remove.PrevKv = true
	}
}

// before notes what a batch replaced, from the answer to it.
func before(b storage.Batch, resp *pb.TxnResponse) {
	if b.Before == nil {
		return
	}
	last := lastOnEachKey(b.Ops)
	if len(resp.Responses) < len(last) {
		return
	}
	replaced := make(map[string]storage.Old, len(last))
	for i, op := range last {
		if kv := previous(resp.Responses[i]); kv != nil {
			replaced[op.Key] = storage.Describe(kv.Value)
		}
	}
	old := make([]storage.Old, len(b.Ops))
	for i, op := range b.Ops {
		old[i] = replaced[op.Key]
	}
	*b.Before = storage.Before{Known: true, Old: old}
}

// previous returns the value that an operation replaced, nil where there was none.
func previous(r *pb.ResponseOp) *mvccpb.KeyValue {
	if put := r.GetResponsePut(); put != nil {
		return put.PrevKv
	}
	if removed := r.GetResponseDeleteRange(); removed != nil && len(removed.PrevKvs) > 0 {
		return removed.PrevKvs[0]
	}
	return nil
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
