package device

import (
	"context"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// Lease is what is recorded when a rooted key is unwrapped to be held in memory.
type Lease struct {
	Mount string
	Root  string // label of the entry that unwrapped it
	Key   string // fingerprint of what was unwrapped
	Until time.Time
	Uses  int // 0: no limit
}

// held is an unwrapped key in memory. It is wiped when the lease has ended and no operation uses
// it.
type held struct {
	handle any
	secret *secret.Bytes
	start  time.Time
	until  time.Time // exclusive
	left   int       // uses; negative: no limit
	timer  *time.Timer

	users int
	ended bool
	idle  bool // no operation has taken it since it began
}

// leases are those of one rooted key: none, or one.
type leases struct {
	mu  sync.Mutex
	now *held
}

// take returns the key for one operation; nil if there is no lease, or it is over.
func (l *leases) take(now time.Time) *held {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.now
	switch {
	case h == nil:
		return nil
	case !now.Before(h.until) || h.left == 0:
		l.end(h)
		return nil
	}
	if h.left > 0 {
		h.left--
	}
	h.users++
	h.idle = false
	return h
}

// done ends an operation.
func (l *leases) done(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.users--
	h.wipe()
}

// begin puts a lease in the place of the one before. The caller's operation uses it.
func (l *leases) begin(h *held, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.end(l.now)
	}
	h.timer = time.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.end(h)
	})
	l.now = h
}

// stop ends the lease that there is.
func (l *leases) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.end(l.now)
	}
}

// end ends a lease; the caller holds mu.
func (l *leases) end(h *held) {
	h.ended = true
	h.timer.Stop()
	if l.now == h {
		l.now = nil
	}
	h.wipe()
}

// wipe destroys the key if nothing needs it any more; the caller holds mu.
func (h *held) wipe() {
	if h.ended && h.users == 0 {
		h.secret.Destroy()
		h.handle = nil
	}
}

// state returns the end of the lease, and whether it was used; ok is false without a lease.
func (l *leases) state(now time.Time) (until time.Time, used, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil || !now.Before(l.now.until) || l.now.left == 0 {
		return until, false, false
	}
	return l.now.until, !l.now.idle, true
}

// acquire returns the key for one operation: of the lease, or unwrapped by the device.
func (h *rootedHandle) acquire(ctx context.Context) (*held, error) {
	now := h.m.r.hub.o.Now()
	if err := h.permit(ctx); err != nil {
		h.leases.stop()
		return nil, err
	}
	if k := h.leases.take(now); k != nil {
		return k, nil
	}
	k, err := h.unwrap(ctx)
	if err != nil {
		return nil, err
	}
	if h.ref.lease == 0 {
		k.ended = true // it is for this operation alone
		return k, nil
	}
	if err := h.grant(ctx, k, now); err != nil {
		k.users, k.ended = 0, true
		k.wipe()
		return nil, err
	}
	return k, nil
}

// grant records a lease, and begins it.
func (h *rootedHandle) grant(ctx context.Context, k *held, now time.Time) error {
	k.start, k.until, k.left = now, now.Add(h.ref.lease), -1
	if h.ref.uses > 0 {
		k.left = h.ref.uses - k.users
	}
	if f := h.m.r.hub.o.Leased; f != nil {
		err := f(ctx, Lease{Mount: h.m.path, Root: h.ref.root.entry, Key: h.name, Until: k.until, Uses: h.ref.uses})
		if err != nil {
			return err
		}
	}
	h.m.r.hub.o.Log.Info("a rooted key is held in memory", "mount", h.m.path, "key", h.name, "root", h.ref.root.entry,
		"until", k.until, "uses", h.ref.uses)
	h.leases.begin(k, h.ref.lease)
	h.m.r.rooted.add(h)
	return nil
}

// renew replaces a lease that is in use and of which half is over, so that most of it is left when
// the device becomes unavailable. A device that refuses ends the lease: only an outage is bridged.
func (h *rootedHandle) renew(ctx context.Context) error {
	now := h.m.r.hub.o.Now()
	until, used, ok := h.leases.state(now)
	if !ok || !used || until.Sub(now) > h.ref.lease/2 {
		return nil
	}
	k, err := h.unwrap(ctx)
	if err != nil {
		if class := seals.ClassOf(cause(err)); !class.Transient() {
			h.leases.stop()
		}
		return err
	}
	k.users, k.idle = 0, true
	if err := h.grant(ctx, k, now); err != nil {
		k.ended = true
		k.wipe()
		return err
	}
	return nil
}

// with runs an operation with the key.
func with[I, T any](ctx context.Context, h *rootedHandle, f func(I) (T, error)) (T, error) {
	var none T
	k, err := h.acquire(ctx)
	if err != nil {
		return none, err
	}
	defer h.leases.done(k)
	i, ok := k.handle.(I)
	if !ok {
		return none, errCannot
	}
	return f(i)
}

var _ keys.Provider = (*rooted)(nil)
