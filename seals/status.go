package seals

import (
	"cmp"
	"time"
)

// Status is what is known of one seal. The JSON form is part of the API.
type Status struct {
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	WouldUnseal bool       `json:"would_unseal"`            // the stored blob was decrypted by the last probe
	LastProof   *time.Time `json:"last_proof,omitempty"`    // when the stored blob was last decrypted
	LastProbe   *time.Time `json:"last_probe,omitempty"`    // when that was last tried
	Failing     *time.Time `json:"failing_since,omitempty"` // when it first failed after that
	Class       Class      `json:"failure_class,omitempty"` // of the last probe, "" where it succeeded
	Cause       string     `json:"failure,omitempty"`
	Remedy      string     `json:"remedy,omitempty"`
	KeyID       string     `json:"key_id,omitempty"`      // of the key that wrapped what is stored
	KeyVersion  string     `json:"key_version,omitempty"` // the version of it that did
	Final       bool       `json:"-"`                     // not tried again until the configuration changes

	// What the device or service tells of the key, where its provider asks: see [KeyState].
	KeyState   string     `json:"key_state,omitempty"`
	KeyNewest  string     `json:"key_newest_version,omitempty"` // the version that wraps now
	Deletion   *time.Time `json:"key_deletion,omitempty"`       // when the key will be destroyed
	Protection string     `json:"key_protection,omitempty"`
	Region     string     `json:"key_region,omitempty"`
	KeyAsked   *time.Time `json:"key_asked,omitempty"`
	KeyTrouble string     `json:"key_state_trouble,omitempty"` // why less is known of the key than could be

	RewrapDue  bool     `json:"rewrap_due"`            // another version of the key, or another key, wraps now
	Needed     []KeyUse `json:"needed_keys,omitempty"` // without these, what is stored cannot be opened by this seal
	Configured bool     `json:"configured"`            // false for a seal that holds a part and is in the configuration no more

	wraps   wraps // what wraps now, "" where it is not known
	settled wraps // what wraps now, when wrapping again changed nothing
}

// KeyUse is a key version that something stored was wrapped by.
type KeyUse struct {
	KeyID      string `json:"key_id,omitempty"`
	KeyVersion string `json:"key_version,omitempty"`
	For        string `json:"for"` // "root key", or "root key, by the people before the last rekey"
}

// wraps is the key and its version that a seal wraps by.
type wraps struct{ id, version string }

// noteKey records what was told of a key.
func (s *Set) noteKey(m Seal, k KeyState, err error) {
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

// noteVersion records what wrapped something just now.
func (s *Set) noteVersion(m Seal, p *Part) {
	s.change(m, func(st *Status) { st.KeyNewest, st.wraps = p.KeyVersion, wraps{p.KeyID, p.KeyVersion} })
}

// noteSettled keeps a part from being wrapped again and again where that changes nothing.
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
}

// Status returns what the last probe, or the last attempt to unseal, found; a seal that was never tried has no times.
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

// StatusOf returns [Set.Status] held against a record: which keys it still needs, and which seals should wrap again. Seals that hold a
// part of it and are not configured come last. A nil record needs nothing.
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
			all = append(all, Status{Name: p.Name, Type: p.Type, KeyID: p.KeyID, KeyVersion: p.KeyVersion, Needed: r.needed(p)})
		}
	}
	return all
}

// other reports whether a part was wrapped by something else than what wraps now.
func (w wraps) other(p *Part) bool {
	return w.id != "" && w.id != p.KeyID || w.version != "" && w.version != p.KeyVersion
}

// needed lists the key versions of a seal that the record cannot do without.
func (r *Record) needed(p *Part) []KeyUse {
	uses := []KeyUse{{KeyID: p.KeyID, KeyVersion: p.KeyVersion, For: "root key"}}
	if f := r.Previous; f != nil && f.Part.Name == p.Name {
		uses = append(uses, KeyUse{f.Part.KeyID, f.Part.KeyVersion, "root key, by the people before the last rekey"})
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

// FirstDeletion is when the first of the seals' keys will be destroyed, as far as that was told; zero where none will.
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

// FullyWrapped reports whether every seal holds a part of the record, none is left of others, and no part should be wrapped again.
func (s *Set) FullyWrapped(r *Record) bool {
	if r == nil {
		return false
	}
	for _, st := range s.StatusOf(r) {
		if !st.Configured || len(st.Needed) == 0 || st.RewrapDue {
			return false
		}
	}
	return true
}
