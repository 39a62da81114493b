package storage

import "testing"

func TestAcknowledgements(t *testing.T) {
	t.Parallel()
	var a Acknowledgements
	for _, c := range []struct {
		before, number, highest uint64
		lost                    bool
	}{
		{0, 3, 3, false},
		{0, 2, 3, false}, // sent before the other was acknowledged
		{3, 7, 7, false},
		{7, 6, 7, true},
		{7, 9, 9, true}, // what was lost stays lost
	} {
		a.Note(c.before, c.number)
		if highest, lost := a.Acknowledged(); highest != c.highest || lost != c.lost {
			t.Errorf("after %d: %d, %v", c.number, highest, lost)
		}
	}
}
