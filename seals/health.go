package seals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Pace is how often a seal is asked while nobody asks for it.
type Pace struct {
	Sound   time.Duration // between proofs that the seal would unseal
	Failing time.Duration // the same while it would not
	Look    time.Duration // between looks at its key: see [Describer]

	// Metered is set where calls cost money: waits are stretched by their jitter and never shortened, and a look takes the place of a
	// proof, so that no more than one call is made in Sound while nothing changes.
	Metered bool
}

// Paced is implemented by providers that know better than [MeteredPace] how often they should be asked.
type Paced interface {
	Pace() Pace
}

// MeteredPace is that of the services that take money for every call: at most one a minute.
var MeteredPace = Pace{Sound: time.Minute, Failing: 15 * time.Second, Look: 10 * time.Minute, Metered: true}

// metered are the types of seals whose pace is [MeteredPace] where their provider is not [Paced].
var metered = map[string]bool{"awskms": true, "gcpckms": true, "azurekeyvault": true, "ocikms": true, "alicloudkms": true}

// paceOf is a seal's own pace; that of the caller where the seal has none.
func paceOf(m Seal, usual Pace) Pace {
	if p, ok := m.Wrapper.(Paced); ok {
		return p.Pace()
	}
	if metered[m.Type] {
		return MeteredPace
	}
	return usual
}

// after is the jittered wait until a seal's next turn.
func (p Pace) after(failure Class) time.Duration {
	d := p.Sound
	switch {
	case failure == Throttled && p.Metered:
		d = 2 * p.Sound
	case failure != "":
		d = p.Failing
	}
	if p.Metered {
		return d + rand.N(d/4+1)
	}
	return d*3/4 + rand.N(d/2+1)
}

// rhythm is when a seal's turn comes.
type schedule struct {
	next  time.Time // the next call
	look  time.Time // the next look at its key
	trial bool      // the last look brought no version: the next turn wraps something, to see which version does
	class Class     // of the last proof
}

// RunHealthChecks gives every seal whose time has come its turn: a proof that it would unseal, and from time to time a look at its key. usual is the
// pace of seals that have none of their own. It returns the wait until the next turn of any. One goroutine calls it.
func (s *Set) RunHealthChecks(ctx context.Context, r *Record, usual Pace) time.Duration {
	_ = s.each(func(i int, m Seal) error {
		if t := &s.turns[i]; !s.opts.Now().Before(t.next) {
			s.turn(ctx, r, i, t, paceOf(m, usual))
		}
		return nil
	})
	now := s.opts.Now()
	wait := s.turns[0].next.Sub(now)
	for _, t := range s.turns[1:] {
		wait = min(wait, t.next.Sub(now))
	}
	return max(0, wait)
}

func (s *Set) turn(ctx context.Context, r *Record, i int, t *schedule, pace Pace) {
	m := s.seals[i]
	// A seal that was never proven, because it was initialised just now, is proven first.
	looked := (!pace.Metered || s.proven(m)) && s.lookIfDue(ctx, i, t, pace, r.part(m.Name))
	if !looked || !pace.Metered {
		failure := s.probeOne(ctx, r, i)
		if failure != t.class && failure != "" && !failure.Transient() && !looked {
			t.look = time.Time{} // something became of the key: its state says what
			s.lookIfDue(ctx, i, t, pace, r.part(m.Name))
		}
		t.class = failure
	}
	wait := pace.after(t.class)
	if looked && pace.Metered {
		wait += pace.Sound // some services tell of a key in two calls
	}
	t.next = s.opts.Now().Add(wait)
}

// lookIfDue makes at most one call and reports whether it did.
func (s *Set) lookIfDue(ctx context.Context, i int, t *schedule, pace Pace, p *Part) bool {
	m := s.seals[i]
	_, describes := m.Wrapper.(Describer)
	_, versioned := m.Wrapper.(Versioned)
	if _, isQuorum := m.Wrapper.(Quorum); isQuorum || p == nil || !describes && !versioned || !t.trial && s.opts.Now().Before(t.look) {
		return false
	}
	if t.trial || !describes {
		s.tryVersion(ctx, i)
		t.trial = false
	} else {
		t.trial = !s.look(ctx, i) && versioned && t.class == ""
	}
	t.look = s.opts.Now().Add(pace.Look)
	return true
}

// Look asks every seal that can tell for the state of its key, and returns the statuses with what was told.
func (s *Set) Look(ctx context.Context) []Status {
	_ = s.each(func(i int, _ Seal) error {
		s.look(ctx, i)
		return nil
	})
	return s.Status()
}

// look asks for the state of a key and reports whether it tells the version that wraps.
func (s *Set) look(ctx context.Context, i int) bool {
	m := s.seals[i]
	d, ok := m.Wrapper.(Describer)
	if !ok {
		return false
	}
	begun := time.Now()
	k, err := bounded(ctx, s.calls[i], s.opts.Deadline, d.Describe, nil)
	s.opts.Observe("describe", m.Type, time.Since(begun), err)
	s.noteKey(m, k, err)
	return err == nil && (k.Version != "" || k.Latest != "")
}

// tryVersion has a seal wrap random bytes that are thrown away, to see which version of its key does: some credentials may encrypt and
// not ask. It is for providers whose keys have versions; others may make a key that is missing when they encrypt.
func (s *Set) tryVersion(ctx context.Context, i int) {
	m := s.seals[i]
	waste, err := secret.Random(s.opts.Rand, RootKeyLen)
	if err != nil {
		return
	}
	defer waste.Destroy()
	p, err := s.wrapOne(ctx, &Record{Cluster: "none: thrown away to learn the key's version"}, i, m.Wrapper, waste)
	if err != nil {
		return // the next proof tells, if it matters
	}
	s.noteVersion(m, p)
}

// Rewrap has one seal wrap its part of the root key again, by the version of its key that wraps now. No other seal is asked, and the part
// is the same. moved is false where the key and the version turn out to be those that wrapped before: then there is nothing to store.
func (s *Set) Rewrap(ctx context.Context, r *Record, name string) (next *Record, moved bool, err error) {
	for i, m := range s.seals {
		p := r.part(name)
		if _, isQuorum := m.Wrapper.(Quorum); isQuorum || m.Name != name || p == nil {
			continue
		}
		part, err := s.decrypt(ctx, r, i, m.Wrapper, p)
		if err != nil {
			return nil, false, err
		}
		defer part.Destroy()
		fresh, err := s.wrapOne(ctx, r, i, m.Wrapper, part)
		if err != nil {
			return nil, false, err
		}
		if fresh.KeyID == p.KeyID && fresh.KeyVersion == p.KeyVersion {
			s.noteSettled(m)
			return nil, false, nil
		}
		if err := s.prove(ctx, r, i, fresh); err != nil {
			return nil, false, err
		}
		s.noteVersion(m, fresh)
		return r.with(*fresh), true, nil
	}
	return nil, false, Fail(Misconfigured, fmt.Errorf("no seal %q holds a part that a machine can wrap again", name), "name one of: %s", r.names())
}

// with is a copy of the record with another part of a seal.
func (r *Record) with(p Part) *Record {
	next := *r
	next.Parts = append([]Part(nil), r.Parts...)
	*next.part(p.Name) = p
	return &next
}
