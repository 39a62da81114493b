package anchor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
)

// Keeper is a token that keeps small objects, which its library finds by label.
type Keeper interface {
	// LoadObject returns the values of the objects with the label: one, or two where a save was
	// interrupted.
	LoadObject(label string) ([][]byte, error)
	// SaveObject replaces the object.
	SaveObject(label string, value []byte) error
}

// Token is an anchor in a private object on a token. It is written where the state changed, which
// is rare: its states have no commit number.
type Token struct {
	Label  string
	Keeper func() (Keeper, error) // the token as configured now

	mu   sync.Mutex
	last []byte // what the object is known to hold
}

// Load returns the newest state, nil where the token has no object.
func (t *Token) Load() (*State, error) {
	k, err := t.Keeper()
	if err != nil {
		return nil, err
	}
	values, err := k.LoadObject(t.Label)
	if err != nil {
		return nil, err
	}
	var newest *State
	for _, v := range values {
		s, err := Unmarshal(v)
		if err != nil {
			return nil, fmt.Errorf("the object %q: %w", t.Label, err)
		}
		if newest == nil || s.Generation > newest.Generation ||
			s.Generation == newest.Generation && s.Revision > newest.Revision {
			newest = s
		}
	}
	return newest, nil
}

// Save replaces the object, unless it has the state already.
func (t *Token) Save(s *State) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if bytes.Equal(raw, t.last) {
		return nil
	}
	t.last = nil
	k, err := t.Keeper()
	if err != nil {
		return err
	}
	if err := k.SaveObject(t.Label, raw); err != nil {
		return err
	}
	t.last = raw
	return nil
}
