package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/mount"
)

// moment is the time of the tests.
var moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestClosestQuota(t *testing.T) {
	t.Parallel()
	quotas := []Quota{{Name: "all"}, {Name: "mount", Path: "secret/"}, {Name: "glob", Path: "secret/a*"},
		{Name: "exact", Path: "secret/ab"}}
	for path, want := range map[string]string{
		"sys/x": "all", "secret/x": "mount", "secret/ax": "glob", "secret/ab": "exact", "secret": "all",
	} {
		if got := Closest(quotas, path); got == nil || got.Name != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := Closest(quotas[1:], "other/x"); got != nil {
		t.Errorf("a path that no quota covers: %+v", got)
	}
}

// TestQuotasForgetIdleClients bounds the memory that a flood of addresses can take.
func TestQuotasForgetIdleClients(t *testing.T) {
	t.Parallel()
	var q Quotas
	quota := &Quota{Name: "q", Rate: 1, Interval: 1}
	for i := range maxClients + 100 {
		q.Take(1, quota, fmt.Sprint(i), moment)
	}
	if len(q.clients.byKey) != maxClients || q.clients.recent.Len() != maxClients {
		t.Errorf("%d clients, %d in order of use", len(q.clients.byKey), q.clients.recent.Len())
	}
	if _, wait := q.Take(1, quota, fmt.Sprint(maxClients+99), moment); wait != time.Second {
		t.Errorf("the latest client is forgotten: it waits %s", wait)
	}
	if _, wait := q.Take(2, quota, fmt.Sprint(maxClients+99), moment); wait != 0 {
		t.Errorf("a changed set of quotas does not start at zero: %s", wait)
	}
}

func TestBlockInterval(t *testing.T) {
	t.Parallel()
	var q Quotas
	quota := &Quota{Name: "q", Rate: 1, Interval: 1, BlockInterval: 30}
	now := moment
	take := func() time.Duration { _, wait := q.Take(1, quota, "192.0.2.1", now); return wait }
	if first, second := take(), take(); first != 0 || second != 30*time.Second {
		t.Errorf("%s, %s", first, second)
	}
	now = now.Add(29 * time.Second)
	if wait := take(); wait != time.Second {
		t.Errorf("after 29 s: %s", wait)
	}
	now = now.Add(time.Second)
	if wait := take(); wait != 0 {
		t.Errorf("after 30 s: %s", wait)
	}
}

// TestRefusalsRefill: a bucket fills again, and the memory for addresses is bounded.
func TestRefusalsRefill(t *testing.T) {
	t.Parallel()
	clock := moment
	var log bytes.Buffer
	r := NewRefusals(func() time.Time { return clock }, slog.New(slog.NewTextHandler(&log, nil)))
	limited := func(client string, n int) (count int) {
		for range n {
			if r.Count(client, "sys/unseal") != 0 {
				count++
			}
		}
		return count
	}
	if n := limited("2001:db8::/64", AddressBurst+5); n != 5 {
		t.Errorf("%d limited at first, want 5", n)
	}
	if n := limited("2001:db8::/64", 1); n != 1 {
		t.Error("the next refusal is not limited")
	}
	clock = clock.Add(3 * time.Second)
	if n := limited("2001:db8::/64", 4); n != 1 {
		t.Errorf("%d limited after three seconds, want 1", n)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "since_last_line=6") {
		t.Errorf("the log: %s", log.String())
	}
	for i := range 2 * maxAddresses {
		r.count(fmt.Sprint(i), "sys/unseal")
	}
	if len(r.addresses.byKey) != maxAddresses || r.addresses.recent.Len() != maxAddresses {
		t.Errorf("%d addresses are kept, want %d", len(r.addresses.byKey), maxAddresses)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:1234": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[2001:db8:1:2::5]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "local",
		"": "local", "name:1": "local",
	} {
		if got := Client(remote); got != want {
			t.Errorf("%q is %q, want %q", remote, got, want)
		}
	}
}

// TestLockoutsAreBounded: names that were tried once make room; a name that is locked stays.
func TestLockoutsAreBounded(t *testing.T) {
	t.Parallel()
	var l Lockouts
	s := EffectiveLockout(nil, &mount.Lockout{Threshold: 2})
	if s.Threshold != 2 || s.Duration != DefaultLockout.Duration {
		t.Fatalf("merged settings: %+v", s)
	}
	for i := range maxFailures + 10 {
		l.Failed("m", fmt.Sprint("user", i), s, moment)
	}
	if len(l.of) > maxFailures {
		t.Errorf("%d names are kept, want at most %d", len(l.of), maxFailures)
	}
	l.Failed("m", "admin", s, moment)
	if locks := l.Failed("m", "admin", s, moment); !locks || !l.Locked("m", "admin", moment) {
		t.Error("the second failure does not lock")
	}
	if l.Failed("m", strings.Repeat("x", maxAlias+1), s, moment) {
		t.Error("a name that cannot exist is counted")
	}
	if got := l.List(moment); len(got) != 1 || got[0].Accessor != "m" || len(got[0].Aliases) != 1 {
		t.Errorf("locked: %+v", got)
	}
	l.Clear("m", "admin")
	if l.Locked("m", "admin", moment) {
		t.Error("a cleared name is locked")
	}
}

func BenchmarkTake(b *testing.B) {
	var q Quotas
	quota := &Quota{Name: "q", Rate: 1e9, Interval: 1}
	for b.Loop() {
		q.Take(1, quota, "192.0.2.1", moment)
	}
}

// TestGuessesAtTheSameMoment: of many concurrent guesses only as many are checked as the threshold
// allows, and the correct credentials are not among those that come after it.
func TestGuessesAtTheSameMoment(t *testing.T) {
	t.Parallel()
	var l Lockouts
	s := mount.Lockout{Threshold: 5, Duration: 900, CounterReset: 900}
	now := func() time.Time { return moment }
	var checked, refused atomic.Int64
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			<-start
			leave, allowed, err := l.Enter(t.Context(), "m", "admin", s, now)
			if err != nil {
				t.Error(err)
				return
			}
			if !allowed {
				refused.Add(1)
				return
			}
			defer leave()
			checked.Add(1)
			runtime.Gosched() // hashing a password takes time
			l.Failed("m", "admin", s, moment)
		})
	}
	close(start)
	wg.Wait()
	if checked.Load() != s.Threshold || refused.Load() != 200-s.Threshold {
		t.Errorf("%d of 200 guesses were checked, %d refused; the threshold is %d", checked.Load(), refused.Load(),
			s.Threshold)
	}
	if len(l.trials) != 0 {
		t.Errorf("%d trials are kept", len(l.trials))
	}
}

// TestCorrectLoginsAreNotRefused: concurrent logins with the right credentials all succeed, however
// many there are, and one that waits ends with its context.
func TestCorrectLoginsAreNotRefused(t *testing.T) {
	t.Parallel()
	var l Lockouts
	s := mount.Lockout{Threshold: 2, Duration: 900, CounterReset: 900}
	now := func() time.Time { return moment }
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			leave, allowed, err := l.Enter(t.Context(), "m", "ci", s, now)
			if !allowed || err != nil {
				t.Errorf("a correct login: %v, %v", allowed, err)
				return
			}
			l.Clear("m", "ci")
			leave()
		})
	}
	wg.Wait()
	for range 2 {
		leave, allowed, err := l.Enter(t.Context(), "m", "ci", s, now)
		if !allowed || err != nil {
			t.Fatal(allowed, err)
		}
		defer leave()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, allowed, err := l.Enter(ctx, "m", "ci", s, now); allowed || !errors.Is(err, context.Canceled) {
		t.Errorf("a third check at the same time: %v, %v", allowed, err)
	}
}

// TestUnlockFoldsCase: a name is unlocked as it was typed, and an exact name is preferred.
func TestUnlockFoldsCase(t *testing.T) {
	t.Parallel()
	var l Lockouts
	s := mount.Lockout{Threshold: 1, Duration: 900, CounterReset: 900}
	for _, name := range []string{"mixed", "Role-ID", "role-id"} {
		l.Failed("m", name, s, moment)
	}
	l.Unlock("m", "MiXed")
	l.Unlock("m", "Role-ID")
	for name, want := range map[string]bool{"mixed": false, "Role-ID": false, "role-id": true} {
		if l.Locked("m", name, moment) != want {
			t.Errorf("%s is locked: %v", name, !want)
		}
	}
}
