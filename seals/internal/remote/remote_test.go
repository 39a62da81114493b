package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// TestCallAbandonsUnresponsiveLibrary: a library that ignores its context costs the caller its
// deadline, and the program a bounded number of goroutines.
func TestCallAbandonsUnresponsiveLibrary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var dropped atomic.Int32
		g := NewLimiter(3)
		deaf := func(context.Context) (int, error) { <-release; return 1, nil }
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			_, err := Call(ctx, g, deaf, func(int) { dropped.Add(1) })
			cancel()
			if seals.ClassOf(err) != seals.Unreachable || time.Since(start) != time.Second {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
		}
		close(release)
		synctest.Wait()
		if dropped.Load() != 3 || len(g.slots) != 0 {
			t.Errorf("%d late answers were discarded, %d calls are in progress", dropped.Load(), len(g.slots))
		}
		if v, err := Call(t.Context(), g, deaf, nil); v != 1 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		time.Sleep(idle) // synctest checks that the goroutines end then
	})
}

func TestCallOutcomes(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	own := errors.New("own")
	for name, c := range map[string]struct {
		ctx  context.Context
		f    func(context.Context) (int, error)
		want error
	}{
		"an error":  {t.Context(), func(context.Context) (int, error) { return 0, own }, own},
		"a panic":   {t.Context(), func(context.Context) (int, error) { panic("the secret itself") }, ErrPanic},
		"cancelled": {over, func(context.Context) (int, error) { t.Error("called"); return 0, nil }, context.Canceled},
	} {
		_, err := Call(c.ctx, NewLimiter(1), c.f, nil)
		if !errors.Is(err, c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type answering string

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func TestLimit(t *testing.T) {
	t.Parallel()
	resp, err := Limit(answering("0123456789"), 4).RoundTrip(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != "0123" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]time.Duration{
		"": seals.DefaultDeadline, "3": 3 * time.Second, "250ms": 250 * time.Millisecond,
		"1ms": 0, "-1": 0, "1h": 0, "soon": 0, "99999999999": 0,
	} {
		if got, err := Timeout(v); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %s, %v", v, got, err)
		}
	}
}
