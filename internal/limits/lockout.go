package limits

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/mount"
)

// DefaultLockout applies where nothing is configured (contract 8.1).
var DefaultLockout = mount.Lockout{Threshold: 5, Duration: 900, CounterReset: 900}

// EffectiveLockout merges settings, the most specific first: each setting is that of the first that
// has it.
func EffectiveLockout(settings ...*mount.Lockout) mount.Lockout {
	out := mount.Lockout{}
	for _, l := range append(settings, &DefaultLockout) {
		if l == nil {
			continue
		}
		out.Threshold, out.Duration = cmp.Or(out.Threshold, l.Threshold), cmp.Or(out.Duration, l.Duration)
		out.CounterReset, out.Disable = cmp.Or(out.CounterReset, l.CounterReset), out.Disable || l.Disable
	}
	return out
}

// Lockouts counts wrong credentials by auth method and name. The zero value is ready. It is safe
// for concurrent use. Where its memory is full it forgets, of some names, the one with the fewest
// failures.
type Lockouts struct {
	mu     sync.Mutex
	of     map[account]*failures
	trials map[account]*trial
}

// trial is what is known of a name whose credentials are being checked.
type trial struct {
	pending int64
	waiting int64
	ended   chan struct{} // closed when one of the pending checks ends
}

type account struct{ accessor, alias string }

type failures struct {
	count int64
	last  time.Time
	until time.Time // zero: not locked
}

const (
	maxFailures = 65536
	maxAlias    = 512 // a longer name is no account's
)

// Locked reports whether logins for a name are refused now.
func (l *Lockouts) Locked(accessor, alias string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[account{accessor, alias}].locked(now)
}

func (f *failures) locked(now time.Time) bool { return f != nil && now.Before(f.until) }

// left returns how many more failures lock the name.
func (f *failures) left(s mount.Lockout, now time.Time) int64 {
	if f == nil || f.over(s, now) {
		return s.Threshold
	}
	return s.Threshold - f.count
}

// over reports whether the failures no longer count.
func (f *failures) over(s mount.Lockout, now time.Time) bool {
	reset := time.Duration(s.CounterReset) * time.Second
	return !f.until.IsZero() && !now.Before(f.until) || now.Sub(f.last) >= reset
}

// Enter begins the check of a name's credentials, and reports false if the name is locked. At most
// as many checks run at once as failures are left before the name is locked; the others wait, so
// that guesses made at the same moment count like guesses made one after the other. The caller
// calls leave after [Lockouts.Failed] or [Lockouts.Clear].
func (l *Lockouts) Enter(ctx context.Context, accessor, alias string, s mount.Lockout, now func() time.Time) (
	leave func(), allowed bool, err error,
) {
	if len(alias) > maxAlias {
		return func() {}, true, nil
	}
	key := account{accessor, alias}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		t := l.trials[key]
		if l.of[key].locked(now()) {
			l.forget(key, t)
			return nil, false, nil
		}
		if t == nil {
			t = &trial{ended: make(chan struct{})}
			if l.trials == nil {
				l.trials = map[account]*trial{}
			}
			l.trials[key] = t
		}
		if t.pending < max(1, l.of[key].left(s, now())) {
			t.pending++
			return func() { l.leave(key, t) }, true, nil
		}
		ended := t.ended
		t.waiting++
		l.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
		l.mu.Lock()
		if t.waiting--; err != nil {
			l.forget(key, t)
			return nil, false, err
		}
	}
}

func (l *Lockouts) leave(key account, t *trial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.pending--
	close(t.ended)
	t.ended = make(chan struct{})
	l.forget(key, t)
}

// forget drops the trial of a name without checks and waiters. The caller holds mu.
func (l *Lockouts) forget(key account, t *trial) {
	if t != nil && t.pending == 0 && t.waiting == 0 && l.trials[key] == t {
		delete(l.trials, key)
	}
}

// Failed counts a failure, and reports whether it locks the name.
func (l *Lockouts) Failed(accessor, alias string, s mount.Lockout, now time.Time) bool {
	if len(alias) > maxAlias {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := account{accessor, alias}
	f := l.of[key]
	if f == nil || f.over(s, now) {
		f = &failures{}
		l.makeRoom()
		l.of[key] = f
	}
	f.last = now
	if f.count++; f.count < s.Threshold || !f.until.IsZero() {
		return false
	}
	f.until = now.Add(time.Duration(s.Duration) * time.Second)
	return true
}

// makeRoom forgets, of a few names, the one with the fewest failures where there are too many.
func (l *Lockouts) makeRoom() {
	if l.of == nil {
		l.of = map[account]*failures{}
	}
	if len(l.of) < maxFailures {
		return
	}
	var least account
	fewest, seen := int64(0), 0
	for key, f := range l.of { // the order of a map is random enough
		if seen == 0 || f.count < fewest {
			least, fewest = key, f.count
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(l.of, least)
}

// Unlock forgets the failures of a name. A name that is not known is taken in lower case, as auth
// methods with case-insensitive names count it.
func (l *Lockouts) Unlock(accessor, alias string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := account{accessor, alias}
	if _, ok := l.of[key]; !ok {
		key.alias = strings.ToLower(alias)
	}
	delete(l.of, key)
}

// Clear forgets the failures of a name.
func (l *Lockouts) Clear(accessor, alias string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, account{accessor, alias})
}

// LockedNames are the names of one auth method that are locked.
type LockedNames struct {
	Accessor string
	Aliases  []string
}

// List returns what is locked now, by accessor.
func (l *Lockouts) List(now time.Time) []LockedNames {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := map[string][]string{}
	for key, f := range l.of {
		if now.Before(f.until) {
			by[key.accessor] = append(by[key.accessor], key.alias)
		}
	}
	var out []LockedNames
	for accessor, aliases := range by {
		slices.Sort(aliases)
		out = append(out, LockedNames{accessor, aliases})
	}
	slices.SortFunc(out, func(a, b LockedNames) int { return strings.Compare(a.Accessor, b.Accessor) })
	return out
}
