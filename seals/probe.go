package seals

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// prober remembers the last proof of every seal.
type prober struct {
	mu     sync.Mutex
	status map[string]Status
}

// Probe decrypts the stored blob of every seal with the current credentials, remembers and returns what came of it. The quorum of
// people cannot be probed: it would unseal, as far as a machine can tell.
func (s *Set) Probe(ctx context.Context, r *Record) []Status {
	_ = s.each(func(i int, _ Seal) error {
		s.probeOne(ctx, r, i)
		return nil
	})
	return s.Status()
}

// probeOne proves the part of one seal and returns how it failed, "" where it did not.
func (s *Set) probeOne(ctx context.Context, r *Record, i int) Class {
	m := s.seals[i]
	p := r.part(m.Name)
	if p == nil {
		s.note(m, nil, Fail(Misconfigured, errors.New("the stored root key was not wrapped by this seal"),
			"re-wrap the root key while the server is unsealed"))
		return Misconfigured
	}
	if _, isQuorum := m.Wrapper.(Quorum); isQuorum {
		s.note(m, p, nil)
		return ""
	}
	err := s.watched(m, p, func() error { return s.prove(ctx, r, i, p) })
	s.note(m, p, err)
	return ClassOf(err)
}

// mute is how long a proof may take before the status says so; it goes on up to its deadline, since it may be what brings the seal back.
const unresponsive = 2 * time.Second

// watched runs a proof and tells of its silence while it lasts.
func (s *Set) watched(m Seal, p *Part, proof func() error) error {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(unresponsive)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			s.note(m, p, named(m, "decrypt", Fail(Unreachable, fmt.Errorf("no answer within %s; the deadline of the call is not over yet", unresponsive),
				"see whether the device or service answers at all")))
		}
	}()
	err := proof()
	close(done)
	<-ended
	return err
}

// note records the outcome of an attempt to use a seal.
func (s *Set) note(m Seal, p *Part, err error) {
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

// noteUnproven records that a seal could not wrap, where it has not decrypted anything yet: before the initialisation there is no blob whose
// proof would tell what is wrong. Of a seal that has, the last proof tells more.
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
