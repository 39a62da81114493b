package kmsv2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// health keeps the pinned version and the last proof. One proof runs at a time; calls that come
// meanwhile share its result.
type health struct {
	o *Options

	mu      sync.Mutex
	current Pin
	known   bool      // current was proven once
	good    time.Time // of the last proof that succeeded
	at      time.Time // of the last proof
	looked  time.Time // when the key was last asked for its newest version
	took    time.Duration
	err     error         // of the last proof
	running chan struct{} // closed when the proof under way ends; nil: none
}

func newHealth(o *Options) *health { return &health{o: o} }

func (h *health) pinned() (Pin, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current, h.known
}

func (h *health) ok() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known && h.err == nil
}

// pin returns the version that the last Status returned. An API server asks Status first; where it
// is the plugin that was restarted, a Status is made up for.
func (h *health) pin(ctx context.Context) (Pin, error) {
	if p, ok := h.pinned(); ok {
		return p, nil
	}
	p, _, err := h.status(ctx)
	return p, err
}

// status returns the pinned version and the text of healthz.
func (h *health) status(ctx context.Context) (Pin, string, error) {
	if err := h.refresh(ctx); err != nil {
		return Pin{}, "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now()
	switch {
	case h.err == nil && h.took > h.o.Slow:
		took := h.took.Round(time.Millisecond)
		return h.current, fmt.Sprintf("the key is slow: encryption and decryption took %s", took), nil
	case h.err == nil:
		return h.current, "ok", nil
	case h.known && outage(h.err) && now.Sub(h.good) <= h.o.Budget:
		return h.current, fmt.Sprintf("the key does not answer (%s); new keys are granted until %s", brief(h.err),
			h.good.Add(h.o.Budget).UTC().Format(time.RFC3339)), nil
	}
	return Pin{}, "", h.err
}

// refresh proves the newest version, unless the last proof is fresh or one is under way.
func (h *health) refresh(ctx context.Context) error {
	for {
		h.mu.Lock()
		if h.fresh() {
			h.mu.Unlock()
			return nil
		}
		wait := h.running
		if wait == nil {
			h.running = make(chan struct{})
			h.mu.Unlock()
			h.run(ctx)
			return nil
		}
		h.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), fault.Unavailable, "the key did not answer in time")
		}
	}
}

// fresh reports whether the last proof still counts. The caller holds mu.
func (h *health) fresh() bool {
	now := h.o.Now()
	age := now.Sub(h.at)
	if h.at.IsZero() || age < 0 {
		return false
	}
	if h.err != nil {
		return age < h.o.Fresh/10
	}
	return age < h.o.Fresh && now.Sub(h.looked) < lookEvery
}

// lookEvery is how often Status may ask a key for its newest version, so that a rotation and the
// end of a key are seen before the next proof is due.
const lookEvery = time.Second

// unchanged reports whether the last proof is of this version and still counts. It notes the look.
func (h *health) unchanged(p Pin) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.o.Now()
	if h.err != nil || !h.known || p != h.current || now.Sub(h.at) >= h.o.Fresh || now.Before(h.at) {
		return false
	}
	h.looked = now
	h.end()
	return true
}

// end lets those that wait for the proof continue. The caller holds mu.
func (h *health) end() {
	close(h.running)
	h.running = nil
}

// run makes a proof and publishes its result. The caller that happens to run it cannot spoil it for
// the others by going away.
func (h *health) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.o.Deadline)
	defer cancel()
	begun := h.o.Now()
	p, err := h.o.Key.Newest(ctx)
	if err == nil && h.unchanged(p) {
		return
	}
	if err == nil {
		err = prove(ctx, h.o, p)
	}
	if err != nil && ctx.Err() != nil {
		err = fault.Wrap(err, fault.Unavailable, "the key did not answer within %s", h.o.Deadline)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.err = h.o.Now(), err
	h.looked, h.took = h.at, h.at.Sub(begun)
	if err == nil {
		if h.known && p != h.current {
			h.o.Log.Info("the KMS plugin uses another key version", "socket", h.o.Name, "version", p.Version,
				"key_id_hash", HashOf(p.KeyID))
		}
		h.current, h.known, h.good = p, true, h.at
	}
	h.end()
}

// outage reports whether an error may pass without anybody changing anything.
func outage(err error) bool {
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Sealed, fault.Limited:
		return true
	}
	return false
}

// brief is the text of an error for healthz, which the API server's clients may read.
func brief(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "internal error"
}
