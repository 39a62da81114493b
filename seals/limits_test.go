package seals_test

import (
	"testing"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// TestLimits: the end of a credential matters in the last month or quarter of its life, and dooms
// its seal in the last day or tenth; one that is renewed does not.
func TestLimits(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		life, left   time.Duration
		renews       bool
		soon, doomed bool
	}{
		{life: 365 * day, left: 31 * day},
		{life: 365 * day, left: 29 * day, soon: true},
		{life: 365 * day, left: 23 * time.Hour, soon: true, doomed: true},
		{life: 0, left: 29 * day, soon: true},
		{life: time.Hour, left: 20 * time.Minute},
		{life: time.Hour, left: 10 * time.Minute, soon: true},
		{life: time.Hour, left: 5 * time.Minute, soon: true, doomed: true},
		{life: time.Hour, left: -time.Minute, soon: true, doomed: true},
		{life: time.Hour, left: time.Minute, renews: true},
	} {
		at, since := now.Add(c.left), time.Time{}
		if c.life > 0 {
			since = at.Add(-c.life)
		}
		l := seals.Ends("token", since, at, c.renews, "")
		if l.Soon(now) != c.soon || l.Doomed(now) != c.doomed {
			t.Errorf("%+v: soon %v, doomed %v", c, l.Soon(now), l.Doomed(now))
		}
	}
	if l := (seals.Limit{What: "PIN tries", Danger: "a single try is left"}); !l.Soon(now) || l.Doomed(now) {
		t.Error("a danger without an end is reported, and dooms nothing")
	}
}
