package cosigner

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// Waits of [Signer.Run].
const (
	pollEvery = 10 * time.Second // for records of which no signal comes
	retryMin  = 250 * time.Millisecond
	retryMax  = time.Minute
)

// Run has new records signed until ctx ends, on the node that is active.
func (s *Signer) Run(ctx context.Context) {
	s.mu.Lock()
	s.writes, s.seen = true, nil
	s.mu.Unlock()
	retry := retryMin
	for {
		wait := pollEvery
		if s.turn(ctx) {
			retry = retryMin
		} else {
			wait, retry = clock.Jitter(retry), min(2*retry, retryMax)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
		case <-s.Ceremonies.Recorded:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn signs what is not signed. It returns false where something is to be tried again.
func (s *Signer) turn(ctx context.Context) bool {
	todo, err := s.due(ctx)
	if err != nil {
		s.note(ctx, "", err)
		return false
	}
	var failed error
	down := map[uint64]bool{} // keys whose other records would each cost a deadline
	for _, u := range todo {
		if ctx.Err() != nil {
			return false
		}
		if down[u.key.From] {
			continue
		}
		if err := s.signOne(ctx, u); err != nil {
			failed, down[u.key.From] = err, true
			s.note(ctx, u.key.Key, err)
			if u.key.Until != 0 {
				s.forget() // its managed key may have been removed
			}
		}
	}
	if failed == nil {
		s.note(ctx, "", nil)
	}
	return failed == nil
}

// due returns what is not signed.
func (s *Signer) due(ctx context.Context) ([]unsigned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	return slices.Clone(s.seen.todo), nil
}

func (s *Signer) signOne(ctx context.Context, u unsigned) error {
	signature, err := s.sign(ctx, u)
	if err != nil {
		return err
	}
	if err := ceremony.CoSignDevice(ctx, s.Ceremonies, s.Barrier, signature); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil {
		next := *s.seen
		next.todo = slices.DeleteFunc(slices.Clone(next.todo), u.same)
		s.take(&next, nil)
	}
	s.Log.Info("a record of the transcript was signed in a device", "record", u.head.Seq, "key", u.key.Key)
	return nil
}

// note logs a failure when it begins or becomes another one, and its end.
func (s *Signer) note(ctx context.Context, key string, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failed
	if err == nil {
		if s.failed = nil; before != nil {
			s.Log.Info("the transcript is signed in its device again", "failed_since", before.Since)
		}
		return
	}
	if key == "" && fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Sealed) {
		return // the role begins or ends
	}
	f := failureOf(err, s.Now())
	if before != nil && before.Text == f.Text {
		return
	}
	if before != nil {
		f.Since = before.Since
	}
	s.failed = f
	if errors.Is(err, errChanged) {
		s.Log.Error("ALARM: "+f.Text, "class", string(f.Class))
		return
	}
	s.Log.Warn("records of the transcript could not be signed in their device; it is tried again", "key", key,
		"class", string(f.Class), "cause", f.Text)
}

func failureOf(err error, at time.Time) *Failure {
	f := &Failure{Class: seals.ClassOf(err), Text: "an internal error, which the log has", Since: at}
	if errors.Is(err, errChanged) {
		f.Class = seals.Corrupt
	}
	var ours *fault.Error
	if errors.As(err, &ours) {
		f.Text = ours.Message
	}
	return f
}

// forget makes the next turn read the setting and the chain again.
func (s *Signer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}
