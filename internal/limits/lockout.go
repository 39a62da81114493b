package limits

import (
	"cmp"
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
	mu sync.Mutex
	of map[account]*failures
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
	f := l.of[account{accessor, alias}]
	return f != nil && now.Before(f.until)
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
	reset := time.Duration(s.CounterReset) * time.Second
	if f == nil || !f.until.IsZero() && !now.Before(f.until) || now.Sub(f.last) >= reset {
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
