package storage

import (
	"context"
	"sync/atomic"
)

// ReadRevision takes the revision of the first read that is made with a context: see
// [WithReadRevision]. It is safe for concurrent use.
type ReadRevision struct {
	next atomic.Uint64 // the revision + 1; 0: nothing was read
}

type readRevisionKey struct{}

// WithReadRevision returns a context whose first Get may note the revision that it read at. A
// [Sequencer] whose reads are linearizable may do so where that costs no further question.
func WithReadRevision(ctx context.Context, r *ReadRevision) context.Context {
	return context.WithValue(ctx, readRevisionKey{}, r)
}

// WantsRevision returns where to note the revision of a read; nil where no caller asks, or it was
// noted.
func WantsRevision(ctx context.Context) *ReadRevision {
	r, ok := ctx.Value(readRevisionKey{}).(*ReadRevision)
	if !ok || r.next.Load() != 0 {
		return nil
	}
	return r
}

// Note records the revision of a read that was linearizable; that of the first read stays. The
// value read and the revision are of one moment: no commit that returned before the read has a
// higher number.
func (r *ReadRevision) Note(revision uint64) { r.next.CompareAndSwap(0, revision+1) }

// Revision returns what was noted; false: nothing.
func (r *ReadRevision) Revision() (uint64, bool) {
	n := r.next.Load()
	return n - 1, n != 0
}
