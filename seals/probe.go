package seals

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Status is what is known of one seal. The JSON form is part of the API.
type Status struct {
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	WouldUnseal bool       `json:"would_unseal"`            // the stored blob was decrypted by the last probe
	LastProof   *time.Time `json:"last_proof,omitempty"`    // when the stored blob was last decrypted
	LastProbe   *time.Time `json:"last_probe,omitempty"`    // when that was last tried
	Class       Class      `json:"failure_class,omitempty"` // of the last probe, "" where it succeeded
	Cause       string     `json:"failure,omitempty"`
	Remedy      string     `json:"remedy,omitempty"`
	KeyID       string     `json:"key_id,omitempty"`
	KeyVersion  string     `json:"key_version,omitempty"`
	Final       bool       `json:"-"` // not tried again until the configuration changes
}

// prober remembers the last proof of every seal.
type prober struct {
	mu     sync.Mutex
	status map[string]Status
}

// Probe decrypts the stored blob of every seal with the current credentials, remembers and returns what came of it. The quorum of
// people cannot be probed: it would unseal, as far as a machine can tell.
func (s *Set) Probe(ctx context.Context, r *Record) []Status {
	_ = s.each(func(i int, m Seal) error {
		p := r.part(m.Name)
		if p == nil {
			s.note(m, nil, Fail(Misconfigured, errors.New("the stored root key was not wrapped by this seal"),
				"re-wrap the root key while the server is unsealed"))
			return nil
		}
		if _, people := m.Wrapper.(Quorum); people {
			s.note(m, p, nil)
			return nil
		}
		s.note(m, p, s.watched(m, p, func() error { return s.prove(ctx, r, i, p) }))
		return nil
	})
	return s.Status()
}

// mute is how long a proof may take before the status says so; it goes on up to its deadline, since it may be what brings the seal back.
const mute = 2 * time.Second

// watched runs a proof and tells of its silence while it lasts.
func (s *Set) watched(m Seal, p *Part, proof func() error) error {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(mute)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			s.note(m, p, named(m, "decrypt", Fail(Unreachable, fmt.Errorf("no answer within %s; the deadline of the call is not over yet", mute),
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
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if s.probe.status == nil {
		s.probe.status = map[string]Status{}
	}
	now := s.opts.Now()
	st := s.probe.status[m.Name]
	st.Name, st.Type, st.LastProbe = m.Name, m.Type, &now
	if p != nil {
		st.KeyID, st.KeyVersion = p.KeyID, p.KeyVersion
	}
	st.WouldUnseal, st.Class, st.Cause, st.Remedy, st.Final = err == nil, "", "", "", false
	if err == nil {
		st.LastProof = &now
	} else {
		f := Classify(err)
		st.Class, st.Cause, st.Remedy, st.Final = f.Class, f.Err.Error(), f.Remedy, f.Final
	}
	s.probe.status[m.Name] = st
}

// noteUnproven records that a seal could not wrap, where it has not decrypted anything yet: before the initialisation there is no blob whose
// proof would tell what is wrong. Of a seal that has, the last proof tells more.
func (s *Set) noteUnproven(m Seal, err error) {
	if err == nil {
		return
	}
	s.probe.mu.Lock()
	proven := s.probe.status[m.Name].LastProof != nil
	s.probe.mu.Unlock()
	if !proven {
		s.note(m, nil, err)
	}
}

// Status returns what the last probe, or the last attempt to unseal, found; a seal that was never tried has no times.
func (s *Set) Status() []Status {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	out := make([]Status, 0, len(s.seals))
	for _, m := range s.seals {
		st, ok := s.probe.status[m.Name]
		if !ok {
			st = Status{Name: m.Name, Type: m.Type}
		}
		out = append(out, st)
	}
	return out
}

// WouldUnseal reports whether as many seals as the policy asks for passed their last probe.
func (s *Set) WouldUnseal() bool {
	n := 0
	for _, st := range s.Status() {
		if st.WouldUnseal {
			n++
		}
	}
	return n >= s.opts.Threshold
}
