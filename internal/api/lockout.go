package api

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// lockouts count wrong credentials by auth method and name. They are in memory: a restart forgets them, and whoever guesses cannot cause one.
// The memory is bounded; where it is full, the name with the fewest failures of some is forgotten.
type lockouts struct {
	mu sync.Mutex
	of map[lockoutKey]*failures
}

type lockoutKey struct{ accessor, alias string }

type failures struct {
	count int64
	last  time.Time
	until time.Time // zero: not locked
}

const (
	maxFailures = 65536
	maxAlias    = 512
)

// defaultLockout is what counts where nothing is said: contract 8.1.
var defaultLockout = mount.Lockout{Threshold: 5, Duration: 900, CounterReset: 900}

var errLocked = fault.New(fault.Denied, "permission denied")

// lockoutOf gives the settings for a method: its own, then those of the server for its type, then those for all.
func (h *handler) lockoutOf(m mount.Entry) mount.Lockout {
	out := mount.Lockout{}
	for _, l := range []*mount.Lockout{m.Config.Lockout, h.Lockout[m.Type], h.Lockout["all"], &defaultLockout} {
		if l == nil {
			continue
		}
		out.Threshold, out.Duration = cmp.Or(out.Threshold, l.Threshold), cmp.Or(out.Duration, l.Duration)
		out.CounterReset, out.Disable = cmp.Or(out.CounterReset, l.CounterReset), out.Disable || l.Disable
	}
	return out
}

func (l *lockouts) locked(accessor, alias string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.of[lockoutKey{accessor, alias}]
	return f != nil && now.Before(f.until)
}

// failed counts a failure, and reports whether it was the one too many.
func (l *lockouts) failed(accessor, alias string, s mount.Lockout, now time.Time) bool {
	if len(alias) > maxAlias { // it is nobody's name
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := lockoutKey{accessor, alias}
	f := l.of[key]
	reset := time.Duration(s.CounterReset) * time.Second
	if f == nil || !f.until.IsZero() && !now.Before(f.until) || now.Sub(f.last) >= reset {
		f = &failures{}
		l.room()
		l.of[key] = f
	}
	f.last = now
	if f.count++; f.count < s.Threshold || !f.until.IsZero() {
		return false
	}
	f.until = now.Add(time.Duration(s.Duration) * time.Second)
	return true
}

// room forgets one of a few entries where there are too many.
func (l *lockouts) room() {
	if l.of == nil {
		l.of = map[lockoutKey]*failures{}
	}
	if len(l.of) < maxFailures {
		return
	}
	var least lockoutKey
	fewest, looked := int64(0), 0
	for key, f := range l.of { // the order of a map is random enough
		if looked == 0 || f.count < fewest {
			least, fewest = key, f.count
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(l.of, least)
}

func (l *lockouts) succeeded(accessor, alias string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, lockoutKey{accessor, alias})
}

type lockedAnswer struct {
	ByMount []lockedMountAnswer `json:"by_mount_accessor"`
	Total   int                 `json:"total"`
}

type lockedMountAnswer struct {
	Accessor string   `json:"mount_accessor"`
	Counts   int      `json:"counts"`
	Aliases  []string `json:"alias_identifiers"`
}

func (h *handler) lockedUsers(context.Context, *request) (*answer, error) {
	l, now := &h.Shared.lockouts, h.Now()
	by := map[string][]string{}
	out := lockedAnswer{ByMount: []lockedMountAnswer{}}
	l.mu.Lock()
	for key, f := range l.of {
		if now.Before(f.until) {
			by[key.accessor] = append(by[key.accessor], key.alias)
			out.Total++
		}
	}
	l.mu.Unlock()
	for accessor, aliases := range by {
		slices.Sort(aliases)
		out.ByMount = append(out.ByMount, lockedMountAnswer{accessor, len(aliases), aliases})
	}
	slices.SortFunc(out.ByMount, func(a, b lockedMountAnswer) int { return strings.Compare(a.Accessor, b.Accessor) })
	return shown(out)
}

// unlockUser forgets somebody's failures. The name may have slashes.
func (h *handler) unlockUser(_ context.Context, q *request) (*answer, error) {
	accessor, rest, _ := strings.Cut(q.rest, "/")
	alias, ok := strings.CutPrefix(rest, "unlock/")
	if !ok || alias == "" {
		return nil, errNoPath
	}
	h.Shared.lockouts.succeeded(accessor, alias)
	return done()
}
