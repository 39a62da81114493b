package ha

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// numbered is a storage's revision.
type numbered struct{ at, asked atomic.Uint64 }

func (n *numbered) Revision(context.Context) (uint64, error) {
	n.asked.Add(1)
	return n.at.Load(), nil
}

// TestAssumption: an answer that was made without asking first counts only where everything that
// was committed before had been applied when the request began.
func TestAssumption(t *testing.T) {
	t.Parallel()
	s := &numbered{}
	f := &Follower{sequencer: s, timeout: time.Minute, mark: 5}
	s.at.Store(5)
	begin := func() (context.Context, *Assumption) { return f.Assume(t.Context()) }
	if _, a := begin(); a != nil {
		t.Fatal("nothing was proven yet, and a request assumes")
	}
	calm := func() {
		t.Helper()
		if err := f.Current(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	calm()

	ctx, a := begin()
	storage.WantsRevision(ctx).Note(5)
	if storage.WantsRevision(ctx) != nil {
		t.Error("a second read notes its revision, too")
	}
	asked := s.asked.Load()
	if err := a.Check(t.Context()); err != nil || s.asked.Load() != asked {
		t.Errorf("a current read: %v, %d questions", err, s.asked.Load()-asked)
	}

	_, a = begin() // reads nothing: it asks, once
	if err := errors.Join(a.Check(t.Context()), a.Check(t.Context())); err != nil || s.asked.Load() != asked+1 {
		t.Errorf("nothing read: %v, %d questions", err, s.asked.Load()-asked)
	}

	for what, read := range map[string]bool{"a read": true, "no read": false} {
		calm()
		ctx, a = begin()
		s.at.Add(1) // a commit that the node has not applied when the request begins
		if read {
			storage.WantsRevision(ctx).Note(s.at.Load())
		}
		f.reached(s.at.Load()) // and applies too late for it
		if err := a.Check(t.Context()); !errors.Is(err, ErrStale) {
			t.Errorf("%s of a standby that lags: %v", what, err)
		}
		if _, a := begin(); a != nil {
			t.Errorf("%s: commits come in, and the next request assumes", what)
		}
	}
	calm()
	_, a = begin()
	f.end()
	if err := a.Check(t.Context()); !errors.Is(err, ErrStale) {
		t.Errorf("the role has ended: %v", err)
	}
	if _, a := begin(); a != nil {
		t.Error("the role has ended, and a request assumes")
	}
}
