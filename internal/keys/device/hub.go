package device

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/seals"
)

// Options are the dependencies of a hub.
type Options struct {
	Drivers   map[string]Driver // by type
	Libraries []Library
	Seals     func() []seals.Seal // the seals in use, whose keys are refused; nil: none. See [Hub.Protect]
	Metrics   *metrics.Registry   // nil: nothing is counted
	// Leased records a lease of a rooted key, which begins when it returns nil; nil: nothing records
	// it.
	Leased func(ctx context.Context, l Lease) error
	Log    *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// Hub holds the drivers and the open connections of a process. It is safe for concurrent use.
type Hub struct {
	o Options

	mu    sync.Mutex
	links map[[32]byte]*link
}

// link is a connection that registries share.
type link struct {
	Connection
	owners map[*Registry]bool

	mu   sync.Mutex
	open map[Ref]*opened
}

// opened is a key that was found.
type opened struct {
	key   Key
	facts Facts
}

// NewHub returns a hub. It opens nothing.
func NewHub(o Options) *Hub {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Hub{o: o, links: map[[32]byte]*link{}}
}

// Protect sets the seals whose keys are refused. Call it before the hub is used.
func (h *Hub) Protect(all func() []seals.Seal) { h.o.Seals = all }

// Types lists the types of the drivers.
func (h *Hub) Types() []string { return slices.Sorted(maps.Keys(h.o.Drivers)) }

func (h *Hub) driver(kind string) (Driver, error) {
	d := h.o.Drivers[kind]
	if d == nil {
		return nil, fault.New(fault.Invalid, "unknown plugin: %s", kind)
	}
	return d, nil
}

// library finds the stanza that a request names.
func (h *Hub) library(kind, name string) (*Library, error) {
	for i, l := range h.o.Libraries {
		if l.Type == kind && l.Name == name {
			return &h.o.Libraries[i], nil
		}
	}
	return nil, fault.New(fault.Invalid, "the server's configuration has no kms_library of type %s with this name: a "+
		"request names a stanza, never a path", kind)
}

// connect returns the connection of the parameters, which all keys with the same ones share.
func (h *Hub) connect(owner *Registry, kind, name string, p Params) (*link, error) {
	d, err := h.driver(kind)
	if err != nil {
		return nil, err
	}
	of := d.Parameters()
	own := Params{}
	for _, n := range of.Connection {
		if v := p[n]; v != "" {
			own[n] = v
		}
	}
	s := Settings{Name: name, Params: own, Log: h.o.Log}
	if slices.Contains(of.Connection, "library") {
		if s.Library, err = h.library(kind, own["library"]); err != nil {
			return nil, err
		}
	}
	id, err := digest(kind, own)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[id]; l != nil {
		l.owners[owner] = true
		return l, nil
	}
	c, err := d.Connect(s)
	if err != nil {
		return nil, err
	}
	l := &link{Connection: c, owners: map[*Registry]bool{owner: true}, open: map[Ref]*opened{}}
	h.links[id] = l
	return l, nil
}

func digest(kind string, p Params) ([32]byte, error) {
	b, err := json.Marshal([]any{kind, map[string]string(p)})
	if err != nil {
		return [32]byte{}, fmt.Errorf("device: comparing parameters: %w", err)
	}
	defer clear(b)
	return sha256.Sum256(b), nil
}

// release closes the connections that nobody owns when the owner keeps only some of its own.
func (h *Hub) release(owner *Registry, keep map[*link]bool) error {
	h.mu.Lock()
	var idle []*link
	for id, l := range h.links {
		if !l.owners[owner] || keep[l] {
			continue
		}
		if delete(l.owners, owner); len(l.owners) == 0 {
			delete(h.links, id)
			idle = append(idle, l)
		}
	}
	h.mu.Unlock()
	var errs []error
	for _, l := range idle {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// find opens a key once.
func (l *link) find(ctx context.Context, r Ref) (*opened, error) {
	l.mu.Lock()
	o := l.open[r]
	l.mu.Unlock()
	if o != nil {
		return o, nil
	}
	return l.look(ctx, r)
}

// look asks the device, also for a key that is open.
func (l *link) look(ctx context.Context, r Ref) (*opened, error) {
	key, facts, err := l.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	o := &opened{key, facts}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[r] = o
	return o, nil
}

// forget makes the next use ask the device.
func (l *link) forget(r Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, r)
}
