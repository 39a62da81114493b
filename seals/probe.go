package seals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// prober keeps the status of every seal.
type prober struct {
	mu     sync.Mutex
	status map[string]Status
}

// Probe decrypts the stored part of every seal with the current credentials, and returns the
// updated status. A [Quorum] seal cannot be probed without shares; it counts as able to unseal.
func (s *Set) Probe(ctx context.Context, r *Record) []Status {
	_ = s.each(func(i int, _ Seal) error {
		s.probeOne(ctx, r, i)
		return nil
	})
	return s.Status()
}

// probeOne proves the part of one seal and returns the class of the failure, "" on success.
func (s *Set) probeOne(ctx context.Context, r *Record, i int) Class {
	m := s.seals[i]
	p := r.part(m.Name)
	if p == nil {
		s.note(m, nil, Fail(Misconfigured, errors.New("the stored root key was not wrapped by this seal"),
			"add it while the server is unsealed: sealgate operator seals add %s", m.Name))
		return Misconfigured
	}
	if _, isQuorum := m.Wrapper.(Quorum); isQuorum {
		s.note(m, p, nil)
		return ""
	}
	begun := s.opts.Now()
	err := s.watched(m, p, func() error { return s.prove(ctx, r, i, p) })
	s.note(m, p, err)
	if err == nil {
		s.timed(m, s.opts.Now().Sub(begun))
	}
	return ClassOf(err)
}

// keptTimes is how many durations of proofs a seal's status keeps.
const keptTimes = 48

// timed records how long a proof took. Readers of the status keep its slice.
func (s *Set) timed(m Seal, took time.Duration) {
	s.change(m, func(st *Status) {
		kept := st.ProofTimes[max(0, len(st.ProofTimes)-keptTimes+1):]
		st.ProofTimes = append(slices.Clone(kept), took.Microseconds())
	})
}

// unresponsive is how long a proof may take before the status reports it. The proof continues to
// its deadline, because it may be the call that recovers the seal.
const unresponsive = 2 * time.Second

// watched runs a proof, and reports the seal as unreachable while the proof takes too long.
func (s *Set) watched(m Seal, p *Part, proof func() error) error {
	noted := make(chan struct{})
	timer := time.AfterFunc(unresponsive, func() {
		defer close(noted)
		s.note(
			m,
			p,
			named(
				m,
				"decrypt",
				Fail(Unreachable, fmt.Errorf("no answer within %s; the call is still running", unresponsive),
					"check that the device or service answers"),
			),
		)
	})
	err := proof()
	if !timer.Stop() {
		<-noted // the caller's note must come last
	}
	return err
}

// note records the outcome of an attempt to use a seal.
func (s *Set) note(m Seal, p *Part, err error) {
	s.warnPublic(m)
	s.change(m, func(st *Status) {
		now := s.opts.Now()
		st.LastProbe = &now
		if p != nil {
			st.KeyID, st.KeyVersion = p.KeyID, p.KeyVersion
		}
		st.WouldUnseal, st.Class, st.Cause, st.Remedy, st.Final = err == nil, "", "", "", false
		if err == nil {
			st.LastProof, st.Failing = &now, nil
			return
		}
		if st.Failing == nil {
			st.Failing = &now
		}
		f := Classify(err)
		st.Class, st.Cause, st.Remedy, st.Final = f.Class, f.Err.Error(), f.Remedy, f.Final
	})
}

// Adopt records that a record which [Set.Wrap] or [Set.Rewrap] made is the stored one: its parts
// were proven just now, and its keys are the ones that wrap.
func (s *Set) Adopt(r *Record) {
	for _, m := range s.seals {
		p := r.part(m.Name)
		if _, isQuorum := m.Wrapper.(Quorum); isQuorum || p == nil {
			continue
		}
		s.note(m, p, nil)
		s.noteVersion(m, p)
	}
}

// noteUnproven records that a seal could not wrap. It does so only for a seal that was never
// proven: before the initialisation there is no stored part to probe, later the last proof says
// more.
func (s *Set) noteUnproven(m Seal, err error) {
	if err == nil {
		return
	}
	if !s.proven(m) {
		s.note(m, nil, err)
	}
}

// proven reports whether a seal has ever decrypted what is stored.
func (s *Set) proven(m Seal) bool {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	return s.probe.status[m.Name].LastProof != nil
}

// CheckKeys asks every automatic seal that is due for the id of its key, and records failures in
// the status. It is for a server without a stored part to prove: before the initialisation, or
// where the record is of other seals. Only one goroutine may call it.
func (s *Set) CheckKeys(ctx context.Context, usual Pace) {
	_ = s.each(func(i int, m Seal) error {
		t := &s.turns[i]
		if _, isQuorum := m.Wrapper.(Quorum); isQuorum || s.opts.Now().Before(t.keyCheck) {
			return nil
		}
		_, err := invoke(ctx, s, i, m.Wrapper.KeyId, nil)
		if err != nil {
			s.noteUnproven(m, named(m, "find its key", err))
		} else {
			s.noteKeyFound(m)
		}
		t.keyCheck = s.opts.Now().Add(paceOf(m, usual).after(ClassOf(err)))
		return nil
	})
}

// noteKeyFound ends a failure of a seal that was never proven.
func (s *Set) noteKeyFound(m Seal) {
	if s.proven(m) {
		return
	}
	s.change(m, func(st *Status) {
		st.Failing, st.Class, st.Cause, st.Remedy, st.Final = nil, "", "", "", false
	})
}
