package transit

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// lease is the server's answer to one renewal.
type lease struct {
	left      time.Duration
	renewable bool
	err       error
}

// TestRenewal checks the times of renewals, in synthetic time.
func TestRenewal(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		answers []lease // the last one repeats
		during  time.Duration
		calls   [2]int // at least and at most
	}{
		"renewed in time":       {[]lease{{left: time.Hour, renewable: true}}, 10 * time.Hour, [2]int{13, 18}},
		"never where it cannot": {[]lease{{left: time.Hour}}, 100 * time.Hour, [2]int{1, 1}},
		"a root token":          {[]lease{{renewable: true}}, 100 * time.Hour, [2]int{1, 1}},
		"again after failures":  {[]lease{{err: down}}, time.Hour, [2]int{55, 70}},
		"well again":            {[]lease{{err: down}, {err: down}, {left: time.Hour}}, 100 * time.Hour, [2]int{3, 3}},
		"a very short lease":    {[]lease{{left: 2 * time.Second, renewable: true}}, time.Minute, [2]int{40, 70}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				r := &renewer{log: slog.New(slog.DiscardHandler),
					renew: func(context.Context) (time.Duration, bool, error) {
						a := c.answers[min(calls, len(c.answers)-1)]
						calls++
						return a.left, a.renewable, a.err
					}}
				r.tokenChanged()
				time.Sleep(c.during)
				synctest.Wait()
				if calls < c.calls[0] || calls > c.calls[1] {
					t.Errorf("%d renewals in %s, want %v", calls, c.during, c.calls)
				}
				before := calls
				r.tokenChanged() // another token is in use
				synctest.Wait()
				if calls != before+1 {
					t.Errorf("%d renewals of a token that was just replaced", calls-before)
				}
				r.close()
				r.tokenChanged()
				synctest.Wait()
			})
		})
	}
}
