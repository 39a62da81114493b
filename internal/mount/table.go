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

// Options configure a table.
type Options struct {
	Factories map[string]Factory // by type
	Rand      io.Reader          // nil means crypto/rand
	Log       *slog.Logger       // nil means that nothing is logged
	Now       func() time.Time   // nil means time.Now

	// AuthMethods selects the table of auth methods: see [FormatAuth].
	AuthMethods bool
	// Run calls Gone, at least once, for each unmounted path, with the time of the unmount, before
	// the entries are removed. After an error it calls it again later. It may be nil.
	Gone func(ctx context.Context, path string, at time.Time) error
}

// Table holds the mounts of a node. Routing takes no lock and never waits for a change; changes are
// serialised.
type Table struct {
	*class
	base      Storage
	factories map[string]Factory
	gone      func(context.Context, string, time.Time) error
	clock     func() time.Time
	rnd       io.Reader
	log       *slog.Logger
	kick      chan struct{} // wakes Run

	now atomic.Pointer[snapshot]

	mu    sync.Mutex // held during a change
	stale bool       // a commit's outcome is unknown and the table could not be read back
	moves moves

	removals removals
}

// snapshot is the table as of one commit; it is immutable.
type snapshot struct {
	mounts []*mounted // by path
	byPath map[string]*mounted
	byUUID map[string]*mounted

	removers []TokenDataRemover // the backends that are one
}

// mounted is a mount with its backend.
type mounted struct {
	Entry
	backend   Backend // nil for a type that the API itself answers
	broken    error
	writeLock *writeLock
	cared     atomic.Bool // its maintenance is done
}

// Format returns the operations that create a new table: the built-in mounts and extra ones. A nil
// rnd means crypto/rand. It writes nothing.
func Format(rnd io.Reader, extra ...Entry) ([]storage.Op, error) {
	return engines.format(rnd, extra...)
}

// FormatAuth is [Format] for the table of auth methods, which are below "auth/": token/ alone.
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

// Open reads the table. A mount whose backend cannot be created does not affect the others: it
// answers with the reason. [Table.Run] removes the entries of unmounted paths, on the leader.
func Open(ctx context.Context, base Storage, o Options) (*Table, error) {
	t := &Table{
		class: &engines, base: base, factories: o.Factories, rnd: cmp.Or[io.Reader](o.Rand, rand.Reader), log: o.Log,
		kick: make(chan struct{}, 1),
		gone: o.Gone, clock: o.Now,
		removals: removals{wakeup: make(chan struct{}, 1), byID: map[string]*Removal{}},
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

// Holds reports whether key is the table's: after another node has changed it, memory is outdated.
func (t *Table) Holds(key string) bool { return key == t.table }

// Invalidate reports a changed entry to the backend of the mount that holds it: another node wrote
// it.
func (t *Table) Invalidate(key string) {
	rest, ok := strings.CutPrefix(key, t.data)
	if !ok {
		return
	}
	id, name, _ := strings.Cut(rest, "/")
	e := t.now.Load().byUUID[id]
	if e == nil {
		return
	}
	if i, ok := e.backend.(Invalidator); ok {
		i.Invalidate(name)
	}
}

// Reload reads the table again, after another node changed it or a commit's outcome was unknown.
func (t *Table) Reload(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reload(ctx)
}

func (t *Table) reload(ctx context.Context) error {
	value, err := t.base.Get(ctx, t.table)
	if err != nil {
		return fmt.Errorf("mount: cannot read the table of mounts: %w", err)
	}
	mounts, err := unmarshalTable(value)
	if err != nil {
		return err
	}
	t.swap(mounts)
	t.stale = false
	return nil
}

// swap publishes a table. Backends of unchanged mounts are kept; the others lose their write lock.
func (t *Table) swap(mounts []Entry) {
	old, s := t.now.Load(), &snapshot{byPath: map[string]*mounted{}, byUUID: map[string]*mounted{}}
	kept := map[*mounted]bool{}
	for _, m := range mounts {
		e := old.byPath[m.Path]
		if e == nil || !e.equal(m) {
			e = t.build(m)
		}
		kept[e] = true
		s.mounts = append(s.mounts, e)
		s.byPath[m.Path], s.byUUID[m.UUID] = e, e
		if r, ok := e.backend.(TokenDataRemover); ok {
			s.removers = append(s.removers, r)
		}
	}
	// Close before publishing: two backends of one mount must never write concurrently, because
	// each has its own locks.
	for _, e := range old.mounts {
		if !kept[e] {
			e.writeLock.close()
		}
	}
	t.now.Store(s)
	t.wake()
}

// wake makes Run check for work.
func (t *Table) wake() {
	for _, c := range []chan struct{}{t.kick, t.removals.wakeup} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Settle waits for a change of the table in progress: see [ErrChanged].
func (t *Table) Settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
}

// build creates a mount's backend. If it fails, requests to the mount get the reason.
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

// Route finds the mount of a path, and the rest of the path below it. Errors are [fault.NotFound]
// with Vault's texts, or the reason why a mount cannot be used.
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

// find looks up each prefix of the path that ends in a slash. Mounts never nest, so the first match
// is the only one.
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

// List returns all mounts, sorted by path. Their maps are shared and must not be changed.
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

// Mount adds a mount in one commit and generates its identifiers.
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

// free refuses a path equal to, above or below that of another mount.
func free(mounts []Entry, path string) error {
	for _, other := range mounts {
		if strings.HasPrefix(path, other.Path) || strings.HasPrefix(other.Path, path) {
			return fault.New(fault.Invalid, "path is already in use at %s", other.Path)
		}
	}
	return nil
}

// prepare validates a new mount, including the creation of its backend.
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

// Types lists the types that can be mounted.
func (t *Table) Types() []string {
	var all []string
	for name := range t.factories {
		if !t.isBuiltin(name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// Unmount removes a mount from the table in one commit; [Table.Run] removes its entries later. A
// path that is not mounted is not an error.
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
	now := t.clock()
	t.removals.note(gone.UUID, func(r *Removal) { r.Path, r.Unmounted = gone.Path, now }) // before Run can end it
	err = t.commit(ctx, rest, storage.Put(t.tombstones+gone.UUID, marshalTombstone(gone.Path, now)))
	if err != nil {
		t.removals.done(gone.UUID) // Run notes it again if the commit happened
	}
	t.wake() // after an error too
	return err
}

// fresh reads the table back after a commit whose outcome is unknown.
func (t *Table) fresh(ctx context.Context) error {
	if !t.stale {
		return nil
	}
	return t.reload(ctx)
}

// certain lists the errors of a commit that certainly wrote nothing.
var certain = []error{storage.ErrConflict, storage.ErrFenced, storage.ErrTooLarge, storage.ErrInvalidKey,
	storage.ErrClosed, storage.ErrFull}

// readBack bounds the read after a commit whose outcome is unknown; the caller's context may have
// ended.
const readBack = 10 * time.Second

// commit writes the table and publishes it. After an error whose outcome is unknown it reads the
// table back.
func (t *Table) commit(ctx context.Context, mounts []Entry, more ...storage.Op) error {
	value, err := marshalTable(mounts)
	if err != nil {
		return err
	}
	err = t.base.Commit(ctx, storage.Batch{Ops: append(more, storage.Put(t.table, value))})
	if errors.Is(err, storage.ErrTooLarge) {
		return fault.Wrap(err, fault.TooLarge, "the table of mounts would be larger than the %d bytes of one entry: "+
			"unmount what is not needed",
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
