package anchor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// keeper is a token in memory.
type keeper struct {
	values [][]byte
	err    error
	saves  int
}

func (k *keeper) LoadObject(string) ([][]byte, error) { return k.values, k.err }

func (k *keeper) SaveObject(_ string, v []byte) error {
	k.saves++
	if k.err == nil {
		k.values = [][]byte{v}
	}
	return k.err
}

func state(t *testing.T, generation, revision uint64) (*State, []byte) {
	t.Helper()
	s := &State{Cluster: "c", Generation: generation, Revision: revision, Audit: []string{}}
	if err := s.Seal([]byte("key")); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return s, raw
}

func TestTokenIsWrittenOnChange(t *testing.T) {
	k := &keeper{}
	a := &Token{Label: "anchor", Keeper: func() (Keeper, error) { return k, nil }}
	if s, err := a.Load(); s != nil || err != nil {
		t.Fatalf("without an object: %v, %v", s, err)
	}
	first, _ := state(t, 1, 1)
	for range 3 {
		if err := a.Save(first); err != nil {
			t.Fatal(err)
		}
	}
	if k.saves != 1 {
		t.Errorf("%d writes of one state", k.saves)
	}
	k.err = errors.New("read-only")
	second, _ := state(t, 1, 2)
	if err := a.Save(second); err == nil {
		t.Error("a write that failed is not reported")
	}
	k.err = nil
	if err := a.Save(first); err != nil || k.saves != 3 {
		t.Errorf("after a failure: %v, %d writes; want another write: the object's value is not known", err, k.saves)
	}
	if s, err := a.Load(); err != nil || !s.Verify([]byte("key")) || s.Revision != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestTokenOfAnInterruptedWrite: the newest of two objects counts, and one that is no anchor is an
// error, not an absent anchor.
func TestTokenOfAnInterruptedWrite(t *testing.T) {
	_, old := state(t, 1, 9)
	_, next := state(t, 2, 1)
	k := &keeper{values: [][]byte{next, old}}
	a := &Token{Label: "anchor", Keeper: func() (Keeper, error) { return k, nil }}
	if s, err := a.Load(); err != nil || s.Generation != 2 {
		t.Errorf("%+v, %v; want generation 2", s, err)
	}
	k.values = append(k.values, []byte("{}"))
	if s, err := a.Load(); err == nil || !strings.Contains(err.Error(), "anchor") {
		t.Errorf("%+v, %v; want an error", s, err)
	}
}
