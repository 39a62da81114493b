package token

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// TestUnwrapIsOneCommit: what a wrapping token held goes with it, in one commit, whatever ends it.
func TestUnwrapIsOneCommit(t *testing.T) {
	t.Parallel()
	e, _ := formatted(t)
	c := &clock{now: start}
	s := opened(t, e, c.Now)
	before := len(e.m)
	wrap := func() string {
		made, err := s.Wrap(t.Context(), Wrapping{Path: "secret/a", TTL: time.Minute, Accessor: "acc",
			Answer: []byte("answer")})
		if err != nil {
			t.Fatal(err)
		}
		return made.Text
	}
	token := wrap()
	u, err := s.Unwrap(t.Context(), token)
	if err != nil || string(u.Answer) != "answer" || u.Accessor != "acc" || u.Token.Path != "secret/a" {
		t.Fatalf("%+v, %v", u, err)
	}
	if len(e.m) != before {
		t.Errorf("%d entries are left", len(e.m)-before)
	}
	fresh, _, err := s.Rewrap(t.Context(), wrap())
	if err != nil {
		t.Fatal(err)
	}
	c.now = start.Add(time.Minute)
	if _, err := s.Unwrap(t.Context(), fresh.Text); !errors.Is(err, errWrapping) {
		t.Errorf("an expired wrapping token: %v", err)
	}
	if err := s.revoke(t.Context(), s.digest(fresh.Text)); err != nil {
		t.Fatal(err)
	}
	for key := range e.m {
		if strings.HasPrefix(key, wrappedPrefix) {
			t.Errorf("%s outlives its token", key)
		}
	}
}

// TestFailedUnwrapIsNoUnwrap: while the storage is unavailable no caller gets the answer, and it
// can be read afterwards.
func TestFailedUnwrapIsNoUnwrap(t *testing.T) {
	t.Parallel()
	e, _ := formatted(t)
	s := opened(t, e, nil)
	made, err := s.Wrap(t.Context(), Wrapping{TTL: time.Hour, Answer: []byte("answer")})
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.fail = storage.ErrClosed
	e.mu.Unlock()
	if _, err := s.Unwrap(t.Context(), made.Text); err == nil {
		t.Error("unwrapped without storage")
	}
	e.mu.Lock()
	e.fail = nil
	e.mu.Unlock()
	if _, err := s.Unwrap(t.Context(), made.Text); err != nil {
		t.Error(err)
	}
}

func TestUnwrapsAtTheSameTime(t *testing.T) {
	t.Parallel()
	e, _ := formatted(t)
	s := opened(t, e, nil)
	for range 50 {
		made, err := s.Wrap(t.Context(), Wrapping{TTL: time.Hour, Answer: []byte("answer")})
		if err != nil {
			t.Fatal(err)
		}
		var got atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				var err error
				switch i % 3 {
				case 0:
					_, err = s.Unwrap(t.Context(), made.Text)
				case 1:
					_, _, err = s.Rewrap(t.Context(), made.Text)
				case 2:
					if _, err := s.Authorize(t.Context(), made.Text, Need{Path: "x", Capability: Read}); !fault.Is(err, fault.Denied) {
						t.Errorf("used elsewhere: %v", err)
					}
					return
				}
				if err == nil {
					got.Add(1)
				}
			})
		}
		wg.Wait()
		if got.Load() > 1 {
			t.Fatalf("%d got the answer", got.Load())
		}
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	e, _ := formatted(t)
	s := opened(t, e, (&clock{now: start}).Now)
	for name, tc := range map[string]struct {
		req     LoginRequest
		ttl     time.Duration
		explain string
	}{
		"nothing said":         {LoginRequest{}, MaxTTL, ""},
		"a ttl":                {LoginRequest{TTL: time.Hour}, time.Hour, ""},
		"beyond the maximum":   {LoginRequest{TTL: 2 * time.Hour, Max: time.Hour}, time.Hour, ""},
		"periodic":             {LoginRequest{Period: time.Minute, Max: time.Second}, time.Minute, ""},
		"periodic with an end": {LoginRequest{Period: time.Hour, ExplicitMax: time.Minute}, time.Minute, ""},
		"root":                 {LoginRequest{Policies: []string{" Root "}}, 0, "auth methods cannot create root tokens"},
		"wrapping":             {LoginRequest{Policies: []string{wrapPolicy}, NoDefault: true}, 0, "cannot assign policy"},
		"batch with uses":      {LoginRequest{Batch: true, Uses: 1}, 0, `batch tokens cannot have "num_uses" set`},
		"batch":                {LoginRequest{Batch: true, TTL: time.Hour, Max: time.Hour}, time.Hour, ""},
	} {
		tc.req.Path = "auth/x/login"
		made, err := s.Login(t.Context(), tc.req)
		if tc.explain != "" {
			if err == nil || !strings.Contains(err.Error(), tc.explain) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || made.Token.Left(start) != tc.ttl || !made.Token.Orphan() {
			t.Errorf("%s: %+v, %v", name, made, err)
			continue
		}
		if _, err := s.Identify(t.Context(), made.Text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUnmarshalWrapped(f *testing.F) {
	record, err := marshalWrapped("accessor", []byte("answer"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, in []byte) {
		accessor, answer, err := unmarshalWrapped(in)
		if err != nil {
			return
		}
		out, err := marshalWrapped(accessor, answer)
		if err != nil || !bytes.Equal(in, out) {
			t.Errorf("read %x, wrote %x, %v", in, out, err)
		}
	})
}
