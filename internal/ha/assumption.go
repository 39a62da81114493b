package ha

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// ErrStale is returned where a standby's memory was not current when a request began. Its answer is
// dropped, and the request begins again.
var ErrStale = fault.New(fault.Unavailable,
	"this standby has not yet applied what was written before the request; try again")

// Assumption is that a standby's memory was current when a request began. It saves a request that
// reads the storage the question for the storage's revision beforehand:
//
//	mark      all commits up to it had been applied when the request began
//	revision  of the request's first read of the storage, which is linearizable: no commit that
//	          was acknowledged before the request began has a higher number
//
// Where revision <= mark, everything that was acknowledged before the request began had been
// applied before the request used any of the memory, which is what [Follower.Current] proves. It is
// checked before the answer, or a refusal, leaves the node or is audited.
type Assumption struct {
	follower *Follower
	mark     uint64
	read     storage.ReadRevision
}

// Assume begins a request that uses the memory as it is and reads with the context. nil: the
// request must ask first, because commits come in.
func (f *Follower) Assume(ctx context.Context) (context.Context, *Assumption) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.calm || f.over || f.failed {
		return ctx, nil
	}
	a := &Assumption{follower: f, mark: f.mark}
	return storage.WithReadRevision(ctx, &a.read), a
}

// Check returns nil where the memory was current, and [ErrStale] where it was not, or that cannot
// be proven. Where the request has read nothing, it asks for the revision now.
func (a *Assumption) Check(ctx context.Context) error {
	f := a.follower
	revision, ok := a.read.Revision()
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		var err error
		if revision, err = f.ask(ctx); err != nil {
			return ErrStale
		}
		a.read.Note(revision)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || revision > a.mark {
		f.calm = false
		return ErrStale
	}
	return nil
}
