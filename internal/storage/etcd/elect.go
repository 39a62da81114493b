package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/sealgate/sealgate/internal/storage"
)

// election is the state of the election in one read.
type election struct {
	revision int64  // etcd's revision
	leader   int64  // revision of the election, which is the epoch; 0 without a leader
	lease    int64  // revision of the last renewal
	record   []byte // of the leader
	expires  time.Duration
}

// observation is when this node first saw the current lease. Only durations count, never another
// machine's time.
type observation struct {
	mu    sync.Mutex
	lease int64
	at    time.Duration
}

// since returns when the lease of that revision was first seen: now or earlier. renewed: the lease
// seen before was another one.
func (o *observation) since(lease int64, now time.Duration) (at time.Duration, renewed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease != lease {
		renewed = o.lease != 0
		o.lease, o.at = lease, now
	}
	return o.at, renewed
}

// look reads the state of the election.
func (s *Store) readElection(ctx context.Context) (election, error) {
	resp, err := s.read(ctx, "reading the leader", &pb.RangeRequest{Key: s.keys.leadership, RangeEnd: s.keys.leadershipEnd,
		Limit: 8})
	if err != nil {
		return election{}, err
	}
	now := s.clock() // after the read: seeing a lease late only lengthens the wait
	out := election{revision: resp.Header.Revision}
	for _, kv := range resp.Kvs {
		switch string(kv.Key) {
		case string(s.keys.leader):
			out.leader, out.record = kv.ModRevision, kv.Value
		case string(s.keys.lease):
			out.lease = kv.ModRevision
		}
	}
	if out.leader == 0 {
		return out, nil
	}
	ttl, _, err := decodeLeader(out.record)
	if err != nil {
		return election{}, err
	}
	// Without a lease the election itself was observed; revisions never repeat.
	at, renewed := s.observed.since(max(out.lease, out.leader), now)
	if renewed {
		s.outage.Worked(true) // another node's write
	}
	out.expires = at + ttl
	return out, nil
}

// Leader implements storage.Elector. A leader whose lease this node did not see renewed for its
// whole length no longer leads.
func (s *Store) Leader(ctx context.Context) ([]byte, uint64, error) {
	if err := s.ready(ctx); err != nil {
		return nil, 0, err
	}
	now, err := s.readElection(ctx)
	if err != nil {
		return nil, 0, err
	}
	if now.leader == 0 || s.clock() >= now.expires {
		return nil, 0, storage.ErrNotFound
	}
	_, identity, err := decodeLeader(now.record)
	return identity, uint64(now.leader), err
}

// Campaign implements storage.Elector. It keeps waiting while etcd is unavailable or full.
func (s *Store) Campaign(ctx context.Context, identity []byte) (storage.Leadership, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if len(identity) > maxIdentity {
		return nil, fmt.Errorf("%w: an identity of %d bytes; at most %d are allowed", storage.ErrTooLarge, len(identity),
			maxIdentity)
	}
	for {
		l, err := s.candidacy(ctx, identity)
		switch {
		case l != nil:
			return l, nil
		case s.ready(ctx) != nil:
			return nil, s.ready(ctx)
		case err != nil && !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrFull):
			return nil, err
		case err != nil:
			s.log.Warn("cannot campaign; waiting for etcd", "error", err)
			s.pause(ctx, time.Second)
		}
	}
}

// candidacy reads the election once, and takes the leadership or waits until it may be vacant.
func (s *Store) candidacy(ctx context.Context, identity []byte) (*leadership, error) {
	now, err := s.readElection(ctx)
	if err != nil {
		return nil, err
	}
	if now.leader == 0 || s.clock() >= now.expires {
		return s.take(ctx, now, identity)
	}
	return nil, s.untilVacant(ctx, now)
}

// take elects this node, unless the election has changed since it was read.
func (s *Store) take(ctx context.Context, now election, identity []byte) (*leadership, error) {
	sent, mark := s.clock(), s.marks.next()
	resp, err := s.txn(ctx, "taking the leadership", &pb.TxnRequest{
		Compare: []*pb.Compare{written(s.keys.leader, now.leader), written(s.keys.lease, now.lease)},
		Success: []*pb.RequestOp{putOp(s.keys.leader, encodeLeader(s.o.LeaseTTL, identity)), putOp(s.keys.lease, mark)},
		Failure: []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: s.keys.lease})},
	})
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		return s.elected(uint64(resp.Header.Revision), sent)
	}
	// Another copy of this transaction may have been executed before: then the lease has its mark.
	lease := resp.Responses[0].GetResponseRange().Kvs
	if len(lease) == 1 && bytes.Equal(lease[0].Value, mark) {
		return s.elected(uint64(lease[0].ModRevision), sent)
	}
	return nil, nil
}

// untilVacant returns when the leader has resigned, or its lease has expired as far as this node
// knows. It may return early: the caller reads again.
func (s *Store) untilVacant(ctx context.Context, now election) error {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	w, err := s.watchRange(waiting, now.revision+1, s.keys.leadership, s.keys.leadershipEnd)
	if err != nil {
		if errors.Is(err, errCompacted) {
			return nil
		}
		return err
	}
	defer w.cancel()
	ttl, _, err := decodeLeader(now.record)
	if err != nil {
		return err
	}
	timer := time.NewTimer(now.expires - s.clock())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing.Done():
			return storage.ErrClosed
		case <-timer.C:
			return nil
		case <-w.moved:
			return nil
		case answer, ok := <-w.answers:
			if !ok || answer.Err() != nil {
				s.pause(ctx, pauseAfterLoss)
				return nil
			}
			for _, e := range answer.Events {
				if string(e.Kv.Key) != string(s.keys.lease) || e.Type == mvccpb.Event_DELETE {
					return nil
				}
				at, _ := s.observed.since(e.Kv.ModRevision, s.clock())
				s.outage.Worked(true)
				timer.Reset(at + ttl - s.clock())
			}
		}
	}
}

// pause waits, unless a context ends.
func (s *Store) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-s.closing.Done():
	case <-time.After(d):
	}
}
