package device

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Storage is where the records are: the role's barrier.
type Storage interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Registry is the configurations as one role of the node sees them. It is safe for concurrent use.
type Registry struct {
	hub  *Hub
	base Storage

	now    atomic.Pointer[snapshot] // nil: to be read
	drops  atomic.Uint64            // how often another node changed something
	mu     sync.Mutex               // held while the records are read or changed
	closed bool

	health health
	rooted rootedSet
}

// snapshot is all records as of one commit. It is not changed.
type snapshot struct {
	configs map[string]*Config
	entries map[Face]map[string]*Entry // by label

	reserved map[string]Reserved // by the place of its record
}

// Open returns the registry of a role. It reads and opens nothing.
func (h *Hub) Open(base Storage) *Registry {
	return &Registry{hub: h, base: base, health: health{by: map[string]Health{}}}
}

// Close closes the connections that no other role uses.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.endLeases()
	r.now.Store(nil)
	return r.hub.release(r, nil)
}

// Invalidate makes the next use read the records again, if another node has changed one.
func (r *Registry) Invalidate(key string) {
	if strings.HasPrefix(key, Prefix) {
		r.drops.Add(1)
		r.now.Store(nil)
	}
}

var errClosed = fault.New(fault.Unavailable, "the node is changing its role, and gives up its device keys: try again")

func (r *Registry) current(ctx context.Context) (*snapshot, error) {
	if s := r.now.Load(); s != nil {
		return s, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read(ctx)
}

// read reads the records where they are not in memory; the caller holds mu.
func (r *Registry) read(ctx context.Context) (*snapshot, error) {
	if r.closed {
		return nil, errClosed
	}
	if s := r.now.Load(); s != nil {
		return s, nil
	}
	drops := r.drops.Load()
	s := &snapshot{configs: map[string]*Config{}, entries: map[Face]map[string]*Entry{Managed: {}, External: {}},
		reserved: map[string]Reserved{}}
	err := r.each(ctx, configPrefix, func(b []byte) error {
		c := &Config{}
		err := unmarshal(b, c)
		s.configs[c.Name] = c
		return err
	})
	for _, prefix := range []string{managedPrefix, externalPrefix} {
		err = errors.Join(err, r.each(ctx, prefix, func(b []byte) error {
			e := &Entry{}
			err := unmarshal(b, e)
			if all := s.entries[e.Face]; all != nil {
				all[e.Label()] = e
			}
			return err
		}))
	}
	err = errors.Join(err, r.each(ctx, reservedPrefix, func(b []byte) error {
		var k Reserved
		err := unmarshal(b, &k)
		s.reserved[k.key()] = k
		return err
	}))
	switch {
	case errors.Is(err, ErrRecord):
		return nil, fault.Wrap(err, fault.Internal, "a configuration of device keys is damaged: restore it from a backup")
	case err != nil:
		return nil, err
	}
	r.now.Store(s)
	if r.drops.Load() != drops { // they may have been read before the change
		r.now.Store(nil)
	}
	return s, nil
}

// each visits the records below a prefix.
func (r *Registry) each(ctx context.Context, prefix string, visit func([]byte) error) error {
	names, err := r.base.List(ctx, prefix, "", 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if err := r.each(ctx, prefix+name, visit); err != nil {
				return err
			}
			continue
		}
		b, err := r.base.Get(ctx, prefix+name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		err = visit(b)
		clear(b)
		if err != nil {
			return err
		}
	}
	return nil
}

// commit writes a change; the caller holds mu. Memory is read again in any case, and connections
// that nothing needs any more are closed.
func (r *Registry) commit(ctx context.Context, ops ...storage.Op) error {
	err := r.base.Commit(ctx, storage.Batch{Ops: ops})
	for _, op := range ops {
		clear(op.Value)
	}
	r.now.Store(nil)
	if err != nil {
		return err
	}
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	return r.tidy(s)
}

// tidy closes the connections that no entry needs. The caller holds mu.
func (r *Registry) tidy(s *snapshot) error {
	keep := map[*link]bool{}
	for _, all := range s.entries {
		for _, e := range all {
			if l, err := r.connect(s, e); err == nil {
				keep[l] = true
			}
		}
	}
	return r.hub.release(r, keep)
}

// params are the whole parameters of an entry: those of its configuration, too.
func (s *snapshot) params(e *Entry) Params {
	if e.Face != External {
		return e.Params
	}
	p := Params{}
	if c := s.configs[e.Config]; c != nil {
		maps.Copy(p, c.Params)
	}
	maps.Copy(p, e.Params)
	return p
}

func (r *Registry) connect(s *snapshot, e *Entry) (*link, error) {
	return r.hub.connect(r, e.Type, e.Label(), s.params(e))
}

// Names lists the entries of a face below a prefix of their labels: "<type>/" or "<config>:".
func (r *Registry) Names(ctx context.Context, f Face, prefix string) ([]string, error) {
	s, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for label := range s.entries[f] {
		if name, ok := strings.CutPrefix(label, prefix); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Configs lists the configurations of OpenBao's face.
func (r *Registry) Configs(ctx context.Context) ([]string, error) {
	s, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(s.configs)), nil
}

// Config returns a configuration with its secrets redacted; ok is false where there is none.
func (r *Registry) Config(ctx context.Context, name string) (c Config, ok bool, err error) {
	s, err := r.current(ctx)
	if err != nil || s.configs[name] == nil {
		return c, false, err
	}
	c = *s.configs[name]
	d, err := r.hub.driver(c.Type)
	if err != nil {
		return c, false, err
	}
	c.Params = c.Params.Shown(d.Parameters())
	return c, true, nil
}

// Entry returns an entry with its secrets redacted; ok is false where there is none.
func (r *Registry) Entry(ctx context.Context, f Face, label string) (e Entry, ok bool, err error) {
	s, err := r.current(ctx)
	if err != nil || s.entries[f][label] == nil {
		return e, false, err
	}
	e = *s.entries[f][label]
	d, err := r.hub.driver(e.Type)
	if err != nil {
		return e, false, err
	}
	e.Params = e.Params.Shown(d.Parameters())
	return e, true, nil
}

// find returns an entry by its label; Vault's face has its short name and its id, too.
func (s *snapshot) find(f Face, name string) (*Entry, error) {
	if e := s.entries[f][name]; e != nil {
		return e, nil
	}
	if f == External {
		if strings.Count(name, ":") != 1 {
			return nil, fault.New(fault.Invalid, `failed to fetch external key: invalid key reference: must be `+
				`"<config name>:<key name>"`)
		}
		return nil, fault.New(fault.Invalid, "failed to fetch external key: key %q not found", name)
	}
	var found *Entry
	for _, e := range s.entries[Managed] {
		if e.Name != name && e.ID != name {
			continue
		}
		if found != nil {
			return nil, fault.New(fault.Invalid, "two managed keys are named %q, of the types %s and %s: give managed_key_id",
				name, found.Type, e.Type)
		}
		found = e
	}
	if found == nil {
		return nil, fault.New(fault.Invalid, "no managed key is named %q", name)
	}
	return found, nil
}
