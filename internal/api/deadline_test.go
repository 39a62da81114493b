package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone, leave := context.WithCancel(t.Context())
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, tc := range []struct {
			name   string
			parent context.Context
			wait   bool // somebody asks for Done first
			happen func(*deadline)
			want   error
		}{
			{"under way", t.Context(), false, func(*deadline) {}, nil},
			{"under way, waited for", t.Context(), true, func(*deadline) {}, nil},
			{"over", t.Context(), false, (*deadline).end, context.Canceled},
			{"over, waited for", t.Context(), true, (*deadline).end, context.Canceled},
			{"too late", t.Context(), false, func(*deadline) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
			{"too late, waited for", t.Context(), true, func(c *deadline) { time.Sleep(time.Minute); <-c.Done() },
				context.DeadlineExceeded},
			{"the parent's time is shorter", soon, false, func(*deadline) { time.Sleep(time.Second) }, context.DeadlineExceeded},
			{"the client has gone", gone, false, func(*deadline) { leave() }, context.Canceled},
			{"the client has gone, waited for", gone, true, func(c *deadline) { leave(); <-c.Done() }, context.Canceled},
		} {
			var c deadline
			c.begin(tc.parent, time.Now().Add(time.Minute))
			if tc.wait {
				c.Done()
			}
			tc.happen(&c)
			if err := c.Err(); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v", tc.name, err)
			}
			c.end()
			<-c.Done() // closed for every caller
		}
		var c deadline
		below, stop := context.WithCancel(c.begin(t.Context(), time.Now().Add(time.Minute)))
		defer stop()
		c.end()
		<-below.Done()
	})
}
