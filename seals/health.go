package seals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Pace is the interval between the health checks of a seal.
type Pace struct {
	Healthy  time.Duration // between proofs that the seal would unseal
	Failing  time.Duration // the same while it would not
	Describe time.Duration // between requests for the state of its key: see [Describer]

	// Metered is set where calls cost money. Jitter then only shortens a wait, by a sixth at most,
	// so that a disabled key is noticed within Healthy.
	Metered bool
}

// MeteredPace is the pace of services that charge for every call: about one call a minute.
var MeteredPace = Pace{Healthy: time.Minute, Failing: 15 * time.Second, Describe: 10 * time.Minute, Metered: true}

// metered are the types of seals whose pace is [MeteredPace].
var metered = map[string]bool{
	"awskms":        true,
	"gcpckms":       true,
	"azurekeyvault": true,
	"ocikms":        true,
	"alicloudkms":   true,
}

func paceOf(m Seal, usual Pace) Pace {
	if metered[m.Type] {
		return MeteredPace
	}
	return usual
}

// after returns the jittered wait until the next check.
func (p Pace) after(failure Class) time.Duration {
	d := p.Healthy
	switch {
	case failure == Throttled && p.Metered:
		d = 2 * p.Healthy
	case failure != "":
		d = p.Failing
	}
	if p.Metered {
		return d - rand.N(d/6+1)
	}
	return d*3/4 + rand.N(d/2+1)
}

// schedule is when a seal is checked next.
type schedule struct {
	next     time.Time // the next call
	describe time.Time // the next request for the state of its key
	trial    bool      // the state had no version: the next check wraps random bytes to learn it
	class    Class     // of the last proof
	keyCheck time.Time // the next check of CheckKeys
	limits   time.Time // the next request for what the seal is limited by
}

// RunHealthChecks checks every seal that is due: it proves that the seal would unseal and, less
// often, asks for the state of its key. usual is the pace of seals that are not metered. It returns
// the wait until the next check. Only one goroutine may call it.
func (s *Set) RunHealthChecks(ctx context.Context, r *Record, usual Pace) time.Duration {
	if s.recheck.Swap(false) {
		for i := range s.turns {
			s.turns[i].next = time.Time{}
		}
	}
	_ = s.each(func(i int, m Seal) error {
		if t := &s.turns[i]; !s.opts.Now().Before(t.next) {
			s.check(ctx, r, i, t, paceOf(m, usual))
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

func (s *Set) check(ctx context.Context, r *Record, i int, t *schedule, pace Pace) {
	p := r.part(s.seals[i].Name)
	failure := s.probeOne(ctx, r, i)
	if failure != t.class && failure != "" && !failure.Transient() {
		// The key or the credentials changed: their state says how.
		t.describe, t.limits = time.Time{}, time.Time{}
	}
	t.class = failure
	if failure == "" {
		s.askUpstream(ctx, i)
	}
	if !failure.Transient() {
		s.describeIfDue(ctx, i, t, pace, p)
		if !s.opts.Now().Before(t.limits) {
			s.askLimits(ctx, i)
			t.limits = s.opts.Now().Add(pace.after(""))
		}
	}
	t.next = s.opts.Now().Add(pace.after(t.class))
}

// describeIfDue makes at most one call and reports whether it did.
func (s *Set) describeIfDue(ctx context.Context, i int, t *schedule, pace Pace, p *Part) bool {
	m := s.seals[i]
	_, describes := m.Wrapper.(Describer)
	_, versioned := m.Wrapper.(Versioned)
	_, isQuorum := m.Wrapper.(Quorum)
	if isQuorum || p == nil || !describes && !versioned || !t.trial && s.opts.Now().Before(t.describe) {
		return false
	}
	if t.trial || !describes {
		s.tryVersion(ctx, i)
		t.trial = false
	} else {
		t.trial = !s.describe(ctx, i) && versioned && t.class == ""
	}
	t.describe = s.opts.Now().Add(pace.Describe)
	return true
}

// DescribeKeys asks every [Describer] for the state of its key, and returns the updated status.
func (s *Set) DescribeKeys(ctx context.Context) []Status {
	_ = s.each(func(i int, _ Seal) error {
		s.describe(ctx, i)
		return nil
	})
	return s.Status()
}

// describe asks for the state of a key, and reports whether the answer names the version that
// wraps.
func (s *Set) describe(ctx context.Context, i int) bool {
	m := s.seals[i]
	d, ok := m.Wrapper.(Describer)
	if !ok {
		return false
	}
	begun := time.Now()
	k, err := invoke(ctx, s, i, d.Describe, nil)
	s.opts.Observe("describe", m.Type, time.Since(begun), err)
	s.noteKey(m, k, err)
	return err == nil && (k.Version != "" || k.Latest != "")
}

// tryVersion wraps random bytes to learn the version of the key: some credentials may encrypt and
// not read the key's state. It is for providers whose keys have versions; others may create a
// missing key when they encrypt.
func (s *Set) tryVersion(ctx context.Context, i int) {
	m := s.seals[i]
	waste, err := secret.Random(s.opts.Rand, RootKeyLen)
	if err != nil {
		return
	}
	defer waste.Destroy()
	p, err := s.wrapOne(ctx, &Record{Cluster: "none: thrown away to learn the key's version"}, i, m.Wrapper, waste)
	if err != nil {
		return // the next proof reports a failure that matters
	}
	s.noteVersion(m, p)
}

// Rewrap wraps the part of one seal again, with the key version that wraps now. It calls no other
// seal, and the part stays the same. moved is false where key and version are unchanged: there is
// nothing to store then. The caller authenticates the new record: see [Record.Authenticate].
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
	return nil, false, Fail(
		Misconfigured,
		fmt.Errorf("no seal %q holds a part that can be rewrapped without shares", name),
		"name one of: %s",
		r.names(),
	)
}

// with returns a copy of the record with the given part in place of the one of the same name. It
// has no tags.
func (r *Record) with(p Part) *Record {
	next := *r
	next.RootTag, next.QuorumTag, next.PreviousTag = nil, nil, nil
	next.Parts = append([]Part(nil), r.Parts...)
	*next.part(p.Name) = p
	return &next
}
