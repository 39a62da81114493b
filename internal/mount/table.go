package mount

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Options are what a table is given from outside.
type Options struct {
	Factories map[string]Factory // by type
	Rand      io.Reader          // nil means crypto/rand
	Log       *slog.Logger       // nil means that nothing is logged
	Now       func() time.Time   // nil means time.Now

	// AuthMethods makes it the table of auth methods: see [FormatAuth].
	AuthMethods bool
	// Gone is called by Run, at least once, for what was unmounted, with the moment of that, before its entries are removed. An error makes it
	// be called again later. It may be nil.
	Gone func(ctx context.Context, path string, at time.Time) error
}

// Table is the mounts of a node. Routing takes no lock and waits for no change; changes come one after the other.
type Table struct {
	*class
	base      Storage
	factories map[string]Factory
	gone      func(context.Context, string, time.Time) error
	clock     func() time.Time
	rnd       io.Reader
	log       *slog.Logger
	kick      chan struct{} // tells Run that the table has changed

	now atomic.Pointer[snapshot]

	mu    sync.Mutex // held by changes
	stale bool       // a commit's outcome is unknown and reading it back has failed
	moves moves
}

// snapshot is the table as of one commit; it never changes.
type snapshot struct {
	mounts []*mounted // by path
	byPath map[string]*mounted
}

// mounted is a mount with its backend.
type mounted struct {
	Entry
	backend   Backend // nil for a type without one
	broken    error
	writeLock *writeLock
}

// Format gives the operations that make a fresh table: the mounts that are always there, and extra ones. A nil rnd
// means crypto/rand. Nothing is written.
func Format(rnd io.Reader, extra ...Entry) ([]storage.Op, error) {
	return engines.format(rnd, extra...)
}

// FormatAuth is [Format] for the table of auth methods, which lie below "auth/": token/ alone.
func FormatAuth(rnd io.Reader) ([]storage.Op, error) { return authMethods.format(rnd) }

func (c *class) format(rnd io.Reader, extra ...Entry) ([]storage.Op, error) {
	mounts := slices.Concat(c.builtin, extra)
	for i := range mounts {
		m, err := c.complete(mounts[i], cmp.Or[io.Reader](rnd, rand.Reader))
		if err != nil {
			return nil, err
		}
		mounts[i] = m
	}
	value, err := marshalTable(sorted(mounts))
	if err != nil {
		return nil, err
	}
	return []storage.Op{storage.Put(c.table, value)}, nil
}

func sorted(mounts []Entry) []Entry {
	return slices.SortedFunc(slices.Values(mounts), func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// Open reads the table. A mount whose backend cannot be made does not stop the others: it answers with the reason. What was
// unmounted is removed by [Table.Run], on the node that leads.
func Open(ctx context.Context, base Storage, o Options) (*Table, error) {
	t := &Table{
		class: &engines, base: base, factories: o.Factories, rnd: cmp.Or[io.Reader](o.Rand, rand.Reader), log: o.Log, kick: make(chan struct{}, 1),
		gone: o.Gone, clock: o.Now,
	}
	if o.AuthMethods {
		t.class = &authMethods
	}
	if t.clock == nil {
		t.clock = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.now.Store(&snapshot{})
	if err := t.Reload(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Holds reports whether this is the key of the table: what is in memory no longer counts once another node has changed it.
func (t *Table) Holds(key string) bool { return key == t.table }

// Reload reads the table again: another node changed it, or a commit's outcome was unknown.
func (t *Table) Reload(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reload(ctx)
}

func (t *Table) reload(ctx context.Context) error {
	value, err := t.base.Get(ctx, t.table)
	if err != nil {
		return fmt.Errorf("mount: reading the table of mounts: %w", err)
	}
	mounts, err := unmarshalTable(value)
	if err != nil {
		return err
	}
	t.swap(mounts)
	t.stale = false
	return nil
}

// swap shows a table to the requests. Backends of mounts that did not change are kept; the gates of those that
// are gone are closed.
func (t *Table) swap(mounts []Entry) {
	old, s := t.now.Load(), &snapshot{byPath: map[string]*mounted{}}
	kept := map[*mounted]bool{}
	for _, m := range mounts {
		e := old.byPath[m.Path]
		if e == nil || !e.equal(m) {
			e = t.build(m)
		}
		kept[e] = true
		s.mounts = append(s.mounts, e)
		s.byPath[m.Path] = e
	}
	// Closed first, shown then: two backends of one mount must never write at the same time, for each has locks of its own.
	for _, e := range old.mounts {
		if !kept[e] {
			e.writeLock.close()
		}
	}
	t.now.Store(s)
	t.wake()
}

// wake has Run look for work.
func (t *Table) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// Settle waits for a change of the table that is under way: see [ErrChanged].
func (t *Table) Settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
}

// build makes a mount's backend. What keeps it from working is told to those who come to it.
func (t *Table) build(m Entry) *mounted {
	e := &mounted{Entry: m, writeLock: &writeLock{}}
	factory := t.factories[m.Type]
	switch {
	case factory != nil:
		e.backend, e.broken = factory(&view{base: t.base, prefix: t.data + m.UUID + "/", writeLock: e.writeLock}, m)
	case !t.isBuiltin(m.Type):
		e.broken = errUnknownType(m.Type)
	}
	if e.broken != nil {
		t.log.Error("a mount cannot be used", "path", m.Path, "type", m.Type, "error", e.broken)
	}
	return e
}

func errUnknownType(name string) error {
	return fault.New(fault.Invalid, "plugin not found in the catalog: %s", name)
}

// Route finds the mount that a path belongs to, and the rest of the path below it. Errors are [fault.NotFound] with
// Vault's texts, or the reason for which a mount does not work.
func (t *Table) Route(path string) (Backend, Entry, string, error) {
	e := t.now.Load().find(path)
	switch {
	case e == nil:
		return nil, Entry{}, "", fault.New(fault.NotFound, "no handler for route %q. route entry not found.", path)
	case e.broken != nil:
		return nil, e.Entry, "", e.broken
	case e.backend == nil:
		return nil, e.Entry, "", fault.New(fault.NotFound, "unsupported path")
	}
	return e.backend, e.Entry, path[min(len(e.Path), len(path)):], nil
}

// find looks up each beginning of the path that ends in a slash. No two mounts lie inside each other, so the first is
// the only one.
func (s *snapshot) find(path string) *mounted {
	for i := range len(path) {
		if path[i] == '/' {
			if e := s.byPath[path[:i+1]]; e != nil {
				return e
			}
		}
	}
	return s.byPath[path+"/"]
}

// List returns all mounts by path. Their maps are shared and must not be changed.
func (t *Table) List() []Entry {
	var out []Entry
	for _, e := range t.now.Load().mounts {
		out = append(out, e.Entry)
	}
	return out
}

// Get returns the mount at exactly this path, with or without slashes around it.
func (t *Table) Get(path string) (Entry, bool) {
	e := t.now.Load().byPath[strings.Trim(path, "/")+"/"]
	if e == nil {
		return Entry{}, false
	}
	return e.Entry, true
}

// Entry adds a mount in one commit; its identifiers are made here.
func (t *Table) Mount(ctx context.Context, m Entry) error {
	m, err := t.prepare(m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fresh(ctx); err != nil {
		return err
	}
	current := t.List()
	if err := free(current, m.Path); err != nil {
		return err
	}
	return t.commit(ctx, sorted(append(current, m)))
}

// free refuses a path at, above or below that of another mount.
func free(mounts []Entry, path string) error {
	for _, other := range mounts {
		if strings.HasPrefix(path, other.Path) || strings.HasPrefix(other.Path, path) {
			return fault.New(fault.Invalid, "path is already in use at %s", other.Path)
		}
	}
	return nil
}

// prepare checks a new mount, down to whether its backend can be made.
func (t *Table) prepare(m Entry) (Entry, error) {
	path, err := CleanPath(m.Path)
	if err != nil {
		return m, err
	}
	m.Path = path
	m.Options = maps.Clone(m.Options)
	if m.Type == "kv-v1" || m.Type == "kv-v2" { // Vault's short forms
		if m.Options == nil {
			m.Options = map[string]string{}
		}
		m.Options["version"] = strings.TrimPrefix(m.Type, "kv-v")
		m.Type = "kv"
	}
	switch {
	case t.isProtected(path):
		return m, fault.New(fault.Invalid, "cannot mount %q", path)
	case m.Type == "":
		return m, fault.New(fault.Invalid, `the type of the mount is missing: give "type", such as "kv"`)
	case t.factories[m.Type] == nil || t.isBuiltin(m.Type):
		return m, errUnknownType(m.Type)
	}
	if err := m.Config.Check(); err != nil {
		return m, err
	}
	if m, err = t.complete(m, t.rnd); err != nil {
		return m, err
	}
	_, err = t.factories[m.Type](&view{base: t.base, prefix: t.data + m.UUID + "/", writeLock: &writeLock{}}, m)
	return m, err
}

// Unmount takes a mount out of the table in one commit that decides; its entries are removed by [Table.Run]. To
// unmount what is not mounted is no error.
func (t *Table) Unmount(ctx context.Context, path string) error {
	clean, err := CleanPath(path)
	if err != nil {
		return err
	}
	if t.isProtected(clean) {
		return fault.New(fault.Invalid, t.keep, clean)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fresh(ctx); err != nil {
		return err
	}
	gone, ok := t.Get(clean)
	if !ok {
		return nil
	}
	rest := slices.DeleteFunc(t.List(), func(m Entry) bool { return m.Path == clean })
	err = t.commit(ctx, rest, storage.Put(t.tombstones+gone.UUID, marshalTombstone(gone.Path, t.clock())))
	t.wake() // also after an error: the commit may have happened
	return err
}

// fresh reads the table back where an earlier commit left memory and disk apart.
func (t *Table) fresh(ctx context.Context) error {
	if !t.stale {
		return nil
	}
	return t.reload(ctx)
}

// certain are the errors of a commit that wrote nothing.
var certain = []error{storage.ErrConflict, storage.ErrFenced, storage.ErrTooLarge, storage.ErrInvalidKey, storage.ErrClosed, storage.ErrFull}

// readBack bounds the reading after a commit whose outcome is unknown; the caller's context may be the reason for it.
const readBack = 10 * time.Second

// commit writes the table and shows it. After an error whose outcome is unknown the table is read back.
func (t *Table) commit(ctx context.Context, mounts []Entry, more ...storage.Op) error {
	value, err := marshalTable(mounts)
	if err != nil {
		return err
	}
	err = t.base.Commit(ctx, storage.Batch{Ops: append(more, storage.Put(t.table, value))})
	if errors.Is(err, storage.ErrTooLarge) {
		return fault.Wrap(err, fault.TooLarge, "the table of mounts would be larger than the %d bytes of one entry: unmount what is not used",
			storage.MaxBytes)
	}
	if err == nil {
		t.swap(mounts)
		return nil
	}
	if slices.ContainsFunc(certain, func(c error) bool { return errors.Is(err, c) }) {
		return err
	}
	t.stale = true
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBack)
	defer cancel()
	if failed := t.reload(again); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}
