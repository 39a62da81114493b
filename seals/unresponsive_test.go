package seals

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnresponsive: while a proof does not end, the status says so; what it ends with counts.
func TestUnresponsive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Set{seals: []Seal{{Name: "slow", Type: "test"}}, opts: Options{Threshold: 1, Now: time.Now}}
		m := s.seals[0]
		for _, end := range []error{nil, errors.New("broken")} {
			s.note(m, nil, nil)
			err := s.watched(m, nil, func() error {
				time.Sleep(unresponsive - time.Millisecond)
				if !s.WouldUnseal() {
					t.Error("the seal is reported unresponsive too early")
				}
				time.Sleep(time.Hour)
				if st := s.Status()[0]; st.WouldUnseal || st.Class != Unreachable || st.Remedy == "" {
					t.Errorf("while the seal does not answer: %+v", st)
				}
				return end
			})
			s.note(m, nil, err)
			if err != end || s.WouldUnseal() != (end == nil) {
				t.Errorf("after the proof ended with %v: %v, %+v", end, err, s.Status())
			}
		}
		if err := s.watched(m, nil, func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}
