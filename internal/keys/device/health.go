package device

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/seals"
)

// Health is the last known state of an entry's key.
type Health struct {
	Class    seals.Class // "": it can be used
	State    string      // as the device reports it
	Deletion time.Time   // zero: not planned
	Checked  time.Time   // zero: a use has failed since
	Since    time.Time   // of Class
}

type health struct {
	mu sync.Mutex
	by map[string]Health // by label
}

// Intervals between two checks of a key. Services charge for calls.
const (
	lookEvery        = time.Minute
	lookEveryMetered = 10 * time.Minute
	lookFailing      = 30 * time.Second
	lookTurn         = 15 * time.Second
)

// metered are the types whose calls cost money.
var metered = map[string]bool{"awskms": true, "gcpckms": true, "azurekeyvault": true}

// Run looks at the keys until ctx ends, on the node that is active.
func (r *Registry) Run(ctx context.Context) {
	t := time.NewTicker(lookTurn)
	defer t.Stop()
	for {
		r.Check(ctx)
		if err := r.RenewLeases(ctx); err != nil && ctx.Err() == nil {
			r.hub.o.Log.Warn("a lease of a rooted key could not be renewed; it ends at its time", "error", cause(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Check looks at the keys that are due.
func (r *Registry) Check(ctx context.Context) {
	s, err := r.current(ctx)
	if err != nil {
		return
	}
	known, down := map[string]bool{}, map[*link]error{}
	for _, all := range s.entries {
		for _, e := range all {
			known[e.Label()] = true
			if e.Identity != "" && r.due(e) && ctx.Err() == nil {
				facts, err := r.inspect(ctx, s, e, down)
				if ctx.Err() == nil {
					r.note(e.Label(), facts, err)
				}
			}
		}
	}
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	for label := range r.health.by {
		if !known[label] {
			delete(r.health.by, label)
		}
	}
}

func (r *Registry) due(e *Entry) bool {
	every := lookEvery
	if metered[e.Type] {
		every = lookEveryMetered
	}
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	h := r.health.by[e.Label()]
	if h.Class != "" {
		every = lookFailing
	}
	return r.hub.o.Now().Sub(h.Checked) >= every
}

// inspect asks the device for an entry's key. A device that was unreachable in this turn is not
// asked again: its other keys would each cost a deadline.
func (r *Registry) inspect(ctx context.Context, s *snapshot, e *Entry, down map[*link]error) (Facts, error) {
	d, err := r.hub.driver(e.Type)
	if err != nil {
		return Facts{}, err
	}
	ref, err := d.Select(s.params(e))
	if err != nil {
		return Facts{}, err
	}
	l, err := r.connect(s, e)
	if err != nil {
		return Facts{}, err
	}
	if err := down[l]; err != nil {
		return Facts{}, err
	}
	o, err := l.look(ctx, ref)
	if err != nil {
		if seals.ClassOf(err) == seals.Unreachable {
			down[l] = err
		}
		return Facts{}, err
	}
	if o.facts.Identity != e.Identity {
		return o.facts, seals.Fail(seals.WrongKey, errWrongKey, "restore the key")
	}
	return o.facts, nil
}

// noticed notes a failure of a use: the next check comes soon.
func (r *Registry) noticed(label string, err error) {
	r.note(label, Facts{}, err)
	r.health.mu.Lock()
	h := r.health.by[label]
	h.Checked = time.Time{}
	r.health.by[label] = h
	r.health.mu.Unlock()
	if r.hub.o.Metrics != nil {
		r.hub.o.Metrics.Counter("sealgate.device_key.failures", "key", label, "class", string(seals.ClassOf(err))).Inc()
	}
}

// note keeps the state of a key. It logs a change: an alarm, or its end.
func (r *Registry) note(label string, f Facts, err error) {
	now := r.hub.o.Now()
	next := Health{Class: seals.ClassOf(err), State: f.State, Deletion: f.Deletion, Checked: now}
	switch f.State {
	case "pending deletion":
		next.Class = seals.PendingDeletion
	case "disabled":
		next.Class = seals.KeyDisabled
	}
	r.health.mu.Lock()
	was := r.health.by[label]
	if next.Since = was.Since; was.Class != next.Class || was.Since.IsZero() {
		next.Since = now
	}
	r.health.by[label] = next
	r.health.mu.Unlock()
	switch log := r.hub.o.Log; {
	case was.Class == next.Class:
	case next.Class == "":
		log.Info("a device key can be used again", "key", label, "after", now.Sub(was.Since).Round(time.Second))
	case !next.Deletion.IsZero():
		log.Error("a device key will be destroyed", "key", label, "at", next.Deletion, "remedy", remedies[next.Class])
	default:
		log.Error("a device key cannot be used", "key", label, "class", string(next.Class), "error", err, "remedy",
			remedies[next.Class])
	}
}

// Health returns what is known of an entry's key; ok is false before the first check.
func (r *Registry) Health(label string) (h Health, ok bool) {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	h, ok = r.health.by[label]
	return h, ok
}

// Sample adds the state of the keys to the metrics.
func (r *Registry) Sample(m *metrics.Sample) {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	for label, h := range r.health.by {
		m.Gauge("sealgate.device_key.usable", metrics.Truth(h.Class == ""), "key", label)
		if s := r.Leases(label); s.Count > 0 {
			m.Gauge("sealgate.rooted_key.leases", float64(s.Count), "key", label)
			m.Gauge("sealgate.rooted_key.first_lease_end_timestamp_seconds", float64(s.First.Unix()), "key", label)
		}
		if !h.Deletion.IsZero() {
			m.Gauge("sealgate.device_key.deletion_timestamp_seconds", float64(h.Deletion.Unix()), "key", label)
		}
	}
}

// Text describes the state in one line.
func (h Health) Text() string {
	if h.Class == "" {
		return "usable"
	}
	return fmt.Sprintf("%s: %s", h.Class, remedies[h.Class])
}
