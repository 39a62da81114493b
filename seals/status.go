package seals

import (
	"cmp"
	"time"
)

// Status is the state of one seal. Its JSON form is part of the API.
type Status struct {
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	WouldUnseal bool       `json:"would_unseal"`             // the last probe decrypted the stored part
	LastProof   *time.Time `json:"last_proof,omitempty"`     // last successful probe
	LastProbe   *time.Time `json:"last_probe,omitempty"`     // last probe
	ProofTimes  []int64    `json:"proof_times_us,omitempty"` // of the last successful proofs, oldest first
	Failing     *time.Time `json:"failing_since,omitempty"`  // first failed probe after the last success
	Class       Class      `json:"failure_class,omitempty"`  // of the last probe, "" on success
	Cause       string     `json:"failure,omitempty"`
	Remedy      string     `json:"remedy,omitempty"`
	KeyID       string     `json:"key_id,omitempty"`      // the key that wrapped the stored part
	KeyVersion  string     `json:"key_version,omitempty"` // the version of that key
	Final       bool       `json:"-"`                     // not retried until the configuration changes

	// What the device or service reports about the key: see [KeyState].
	KeyState   string     `json:"key_state,omitempty"`
	KeyNewest  string     `json:"key_newest_version,omitempty"` // the version that wraps now
	Deletion   *time.Time `json:"key_deletion,omitempty"`       // when the key will be destroyed
	Protection string     `json:"key_protection,omitempty"`
	Region     string     `json:"key_region,omitempty"`
	KeyAsked   *time.Time `json:"key_asked,omitempty"`
	KeyTrouble string     `json:"key_state_trouble,omitempty"` // why the state of the key is not fully known

	Limits []Limit `json:"limits,omitempty"` // by what it may stop working: see [Limiter]

	RewrapDue  bool     `json:"rewrap_due"`                  // another key, or another version of it, wraps now
	Needed     []KeyUse `json:"needed_keys,omitempty"`       // this seal cannot decrypt the stored part without these
	Upstream   []string `json:"upstream_clusters,omitempty"` // see [Upstream]
	Configured bool     `json:"configured"`                  // false: holds a part and is not in the configuration

	wraps   wraps // what wraps now; zero if unknown
	settled wraps // what wraps now, where a rewrap changed nothing
}

// KeyUse is a key version that a stored part depends on.
type KeyUse struct {
	KeyID      string `json:"key_id,omitempty"`
	KeyVersion string `json:"key_version,omitempty"`
	For        string `json:"for"` // "root key", or "root key, previous share set"
}

// wraps is the key, and its version, that a seal wraps with.
type wraps struct{ id, version string }

// noteKey records the reported state of a key.
func (s *Set) noteKey(m Seal, k KeyState, err error) {
	s.warnPublic(m)
	s.change(m, func(st *Status) {
		now := s.opts.Now()
		st.KeyAsked, st.KeyTrouble = &now, k.Detail["degraded"]
		if err != nil {
			f := Classify(err)
			st.KeyTrouble = f.Err.Error()
			if f.Class == PendingDeletion || f.Class == KeyDisabled || f.Class == KeyGone {
				st.KeyState = string(f.Class)
			}
			return
		}
		st.KeyState, st.Protection, st.Region, st.Deletion = k.State, k.Protection, k.Region, nil
		if !k.DeletionDate.IsZero() {
			at := k.DeletionDate
			st.Deletion = &at
		}
		if newest := cmp.Or(k.Version, k.Latest); newest != "" || k.ID != "" && k.Detail["degraded"] == "" {
			st.KeyNewest, st.wraps = newest, wraps{k.ID, newest}
		}
	})
}

// noteVersion records the key and version that wrapped a part now.
func (s *Set) noteVersion(m Seal, p *Part) {
	s.change(m, func(st *Status) { st.KeyNewest, st.wraps = p.KeyVersion, wraps{p.KeyID, p.KeyVersion} })
}

// noteSettled records that a rewrap changed nothing, so that it is not repeated.
func (s *Set) noteSettled(m Seal) {
	s.change(m, func(st *Status) { st.settled = st.wraps })
}

func (s *Set) change(m Seal, f func(*Status)) {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if s.probe.status == nil {
		s.probe.status = map[string]Status{}
	}
	st := s.probe.status[m.Name]
	st.Name, st.Type = m.Name, m.Type
	f(&st)
	s.probe.status[m.Name] = st
	s.changes.Add(1)
}

// Changes counts the changes of what the set reports: [Set.Status] and [Set.Plan], and all that
// follows from them and a record. It grows after each change, so that a report which was made
// between two calls with the same count is current.
func (s *Set) Changes() uint64 { return s.changes.Load() }

// Status returns the result of the last probe or attempt to unseal. A seal that was never tried has
// no times.
func (s *Set) Status() []Status {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	out := make([]Status, 0, len(s.seals))
	for _, m := range s.seals {
		st := s.probe.status[m.Name]
		st.Name, st.Type, st.Configured = m.Name, m.Type, true
		out = append(out, st)
	}
	return out
}

// StatusOf returns [Set.Status] compared with a record: which keys the record needs, and which
// seals are due for a rewrap. Seals that hold a part and are not configured come last. A nil record
// needs no key.
func (s *Set) StatusOf(r *Record) []Status {
	all := s.Status()
	if r == nil {
		return all
	}
	for i := range all {
		st := &all[i]
		p := r.part(st.Name)
		if p == nil {
			continue
		}
		st.KeyID, st.KeyVersion, st.Needed = p.KeyID, p.KeyVersion, r.needed(p)
		st.RewrapDue = st.WouldUnseal && st.wraps != (wraps{}) && st.wraps != st.settled && st.wraps.other(p)
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		if !s.has(p.Name) {
			all = append(
				all,
				Status{Name: p.Name, Type: p.Type, KeyID: p.KeyID, KeyVersion: p.KeyVersion, Needed: r.needed(p)},
			)
		}
	}
	return all
}

// other reports whether a part was wrapped by another key or version than the one that wraps now.
func (w wraps) other(p *Part) bool {
	return w.id != "" && w.id != p.KeyID || w.version != "" && w.version != p.KeyVersion
}

// needed lists the key versions that the parts of a seal depend on.
func (r *Record) needed(p *Part) []KeyUse {
	uses := []KeyUse{{KeyID: p.KeyID, KeyVersion: p.KeyVersion, For: "root key"}}
	if f := r.Previous; f != nil && f.Part.Name == p.Name {
		uses = append(uses, KeyUse{f.Part.KeyID, f.Part.KeyVersion, "root key, previous share set"})
	}
	return uses
}

func (s *Set) has(name string) bool {
	for _, m := range s.seals {
		if m.Name == name {
			return true
		}
	}
	return false
}

// WouldUnseal reports whether the seals that passed their last probe satisfy the policy. Seals that
// hold no part cannot pass. Custodians count where the set cannot unseal without them.
func (s *Set) WouldUnseal() bool {
	would, needs := map[string]bool{}, s.NeedsShares()
	for _, st := range s.Status() {
		would[st.Name] = st.WouldUnseal && (needs || !s.isQuorum(st.Name))
	}
	return s.Plan().Opens(func(name string) bool { return would[name] })
}

// FirstDeletion returns the earliest known date on which a key of the seals will be destroyed, zero
// if none.
func (s *Set) FirstDeletion() (first time.Time) {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	for _, st := range s.probe.status {
		if d := st.Deletion; d != nil && (first.IsZero() || d.Before(first)) {
			first = *d
		}
	}
	return first
}

// FullyWrapped reports whether exactly the configured seals hold a part of the record, under the
// configured policy, and no part is due for a rewrap.
func (s *Set) FullyWrapped(r *Record) bool {
	if r == nil {
		return false
	}
	if text, _ := s.PolicyDrift(r); text != "" {
		return false
	}
	for _, st := range s.StatusOf(r) {
		if !st.Configured || len(st.Needed) == 0 || st.RewrapDue {
			return false
		}
	}
	return true
}
