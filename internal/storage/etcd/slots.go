package etcd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/sealgate/sealgate/internal/storage"
)

// marks are values that never repeat: 8 random bytes of this process, and a count.
type marks struct {
	process [8]byte
	count   atomic.Uint64
}

func (m *marks) seed() error {
	_, err := rand.Read(m.process[:])
	return err
}

func (m *marks) next() []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(m.process[:]), m.count.Add(1))
}

// slot is a key in etcd that one commit at a time uses. Its value is the mark of the last commit.
// Every copy of a commit compares the value with the one before, so that only one copy is executed,
// even if a member that was frozen executes another one much later.
type slot struct {
	key  []byte
	mark []byte // as far as this process knows; nil: absent
}

// slots are the free slots. The one freed last is used first: a commit with an unknown outcome is
// settled by the next commit.
type slots struct {
	mu   sync.Mutex
	free []*slot
	made int
}

func (s *slots) take(prefix string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		last := s.free[n-1]
		s.free = s.free[:n-1]
		return last
	}
	s.made++
	return &slot{key: fmt.Appendf(nil, "%s%d", prefix, s.made)}
}

func (s *slots) give(one *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, one)
}

// unchanged is the comparison of the slot's mark with the known one.
func (s *slot) unchanged() *pb.Compare {
	if s.mark == nil {
		return absent(s.key)
	}
	return holds(s.key, s.mark)
}

// errUnknownOutcome is the cause of ErrUnavailable for a commit of which a copy may have been
// executed, or may still be.
func errUnknownOutcome(cause string) error {
	return storage.Classified(storage.Unresponsive,
		fmt.Errorf("%w: the outcome of a commit is unknown: %s; read again", storage.ErrUnavailable, cause))
}

// settle makes sure that no copy of a commit that was refused is executed later. It reports whether
// one was executed after all.
func (s *Store) settle(ctx context.Context, at *slot, mark []byte) (executed bool, err error) {
	void := s.marks.next()
	resp, _, err := s.send(ctx, "settling a commit", &pb.TxnRequest{
		Compare: []*pb.Compare{at.unchanged()}, Success: []*pb.RequestOp{putOp(at.key, void)},
		Failure: []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: at.key})},
	})
	if err != nil {
		return false, errUnknownOutcome("etcd did not answer after a member had refused it")
	}
	if resp.Succeeded {
		at.mark = void
		return false, nil
	}
	at.mark = valueOf(resp.Responses[0])
	switch {
	case bytes.Equal(at.mark, mark):
		return true, nil
	case bytes.Equal(at.mark, void):
		return false, nil
	}
	return false, errUnknownOutcome("another node commits, too")
}

// valueOf returns the value that a read of one key found; nil: absent.
func valueOf(r *pb.ResponseOp) []byte {
	if found := r.GetResponseRange().Kvs; len(found) == 1 {
		return append([]byte{}, found[0].Value...)
	}
	return nil
}
