package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Storage is where keys are kept: what [storage.Store] promises, below a prefix of the mount's own.
type Storage interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Places below the mount.
const (
	settingsPrefix = "k/" // + name
	versionsPrefix = "v/" // + id in hex + "/" + number
	usePrefix      = "u/" // + id in hex
	garbagePrefix  = "g/" // + id in hex; [Note] has another
)

// maxOps is how many operations one commit can hold: the rest is the barrier's.
const maxOps = storage.MaxOps - 4

// Options are the dependencies of a store.
type Options struct {
	Providers map[string]Provider // by name; nil means software alone
	Rand      io.Reader           // nil means crypto/rand
	Now       func() time.Time    // nil means time.Now
}

// Store is the keys of a mount.
type Store struct {
	base      Storage
	providers map[string]Provider
	rnd       io.Reader
	now       func() time.Time

	mu     sync.RWMutex
	cached map[string]*Key
	drops  uint64 // how often Invalidate was called: what was read before that is not kept
	most   int    // keys in the cache; 0: no bound
	worn   []Worn // for TakeWorn
	using  map[id]*Usage

	notes sync.Mutex // held from the commit that notes garbage until it is removed, or turns out to be none

	seed    maphash.Seed
	stripes [64]sync.Mutex // a key is loaded and changed under the one that its name falls to
}

// NewStore makes a store. Nothing is read.
func NewStore(base Storage, o Options) *Store {
	s := &Store{
		base: base, providers: o.Providers, rnd: cmp.Or[io.Reader](o.Rand, rand.Reader), now: o.Now,
		cached: map[string]*Key{}, using: map[id]*Usage{}, seed: maphash.MakeSeed(),
	}
	if s.providers == nil {
		s.providers = map[string]Provider{Software: NewSoftware(o.Rand)}
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

func (s *Store) lock(name string) (unlock func()) {
	m := &s.stripes[maphash.String(s.seed, name)%uint64(len(s.stripes))]
	m.Lock()
	return m.Unlock
}

// Limit bounds the number of keys that are kept decoded; 0 means no bound. Beyond it any one makes
// room.
func (s *Store) Limit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
	s.shrink()
}

func (s *Store) shrink() {
	for name := range s.cached {
		if s.most == 0 || len(s.cached) <= s.most {
			return
		}
		delete(s.cached, name)
	}
}

func (s *Store) peek(name string) *Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cached[name]
}

func (s *Store) keep(k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(k)
}

func (s *Store) insert(k *Key) {
	s.cached[k.Name] = k
	s.shrink()
}

func (s *Store) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cached, name)
}

// Invalidate drops what is cached of an entry below the mount that another node has changed. A
// change of a version changes its key's settings too, or is of a version that cannot have been
// used.
func (s *Store) Invalidate(key string) {
	if name, ok := strings.CutPrefix(key, settingsPrefix); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drops++
		delete(s.cached, name)
	}
}

// Get returns a key, or [ErrNotFound].
func (s *Store) Get(ctx context.Context, name string) (*Key, error) {
	if k := s.peek(name); k != nil {
		return k, nil
	}
	defer s.lock(name)()
	return s.load(ctx, name)
}

// load reads a key; the caller holds its stripe.
func (s *Store) load(ctx context.Context, name string) (*Key, error) {
	if k := s.peek(name); k != nil {
		return k, nil
	}
	s.mu.RLock()
	drops := s.drops
	s.mu.RUnlock()
	b, err := s.base.Get(ctx, settingsPrefix+name)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	}
	settings, of, err := parseSettings(b)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the key %s cannot be read: its record is damaged", name)
	}
	k := s.newKey(name, settings, of)
	s.mu.Lock()
	defer s.mu.Unlock()
	if drops == s.drops {
		s.insert(k)
	}
	return k, nil
}

func (s *Store) newKey(name string, settings Settings, of id) *Key {
	k := &Key{Name: name, Settings: settings, id: of, store: s, cache: &versions{by: map[int]*Version{}},
		use: s.usage(of)}
	k.use.watch(name, k.limited())
	return k
}

// List returns names directly below prefix, as [storage.Store] does.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	names, err := s.base.List(ctx, settingsPrefix+prefix, after, limit)
	if errors.Is(err, storage.ErrInvalidKey) {
		return nil, nil
	}
	return names, err
}

func (s *Store) newID() (of id, err error) {
	if _, err := io.ReadFull(s.rnd, of[:]); err != nil {
		return of, fmt.Errorf("keys: making a key's id: %w", err)
	}
	return of, nil
}

// Create makes a key with a first version: what make gives it, which runs while no other call can
// make the key. [ErrExists] comes with the key that has the name.
func (s *Store) Create(
	ctx context.Context, name string, settings Settings, first func(ctx context.Context, k *Key) (*Version, error),
) (*Key, error) {
	defer s.lock(name)()
	k, err := s.load(ctx, name)
	switch {
	case err == nil:
		return k, ErrExists
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	if err := settings.Check(); err != nil {
		return nil, err
	}
	if err := settings.Type.approved(); err != nil {
		return nil, err
	}
	of, err := s.newID()
	if err != nil {
		return nil, err
	}
	settings.Latest, settings.MinDecryption = 0, 1
	c := &Change{Settings: settings, key: s.newKey(name, settings, of)}
	v, err := first(ctx, c.key)
	if err != nil {
		return nil, err
	}
	c.Add(v)
	return s.commit(ctx, c, storage.IfAbsent(settingsPrefix+name))
}

// Generate makes a version by a provider, for [Store.Create] and [Change.Add].
func (s *Store) Generate(ctx context.Context, provider string, spec Spec) (*Version, error) {
	if err := spec.Type.approved(); err != nil {
		return nil, err
	}
	p := s.providers[provider]
	if p == nil {
		return nil, fault.New(fault.Invalid, "unknown provider %q", provider)
	}
	m, err := p.Generate(ctx, spec)
	if err != nil {
		return nil, err
	}
	return s.NewVersion(provider, m), nil
}

// NewVersion makes a version of material that exists.
func (s *Store) NewVersion(provider string, m Material) *Version {
	return &Version{Created: s.now().UTC(), Provider: provider, Material: m}
}

// Importer is the provider's own, where it has one.
func (s *Store) Importer(provider string) (Importer, error) {
	i, ok := s.providers[provider].(Importer)
	if !ok {
		return nil, fault.New(fault.Invalid, "the provider %q cannot import keys", provider)
	}
	return i, nil
}

// Change is a change of a key, in one commit.
type Change struct {
	Settings
	key   *Key // as it is
	added []*Version
	lost  []storage.Op // notes of keys in devices that are to be destroyed
}

// Key is the key as it is before the change.
func (c *Change) Key() *Key { return c.key }

// Add gives the key another version, which becomes the latest.
func (c *Change) Add(v *Version) {
	c.Latest++
	v.Number = c.Latest
	c.added = append(c.added, v)
}

// Replace puts another record in the place of a version: with a certificate, say.
func (c *Change) Replace(v *Version) { c.added = append(c.added, v) }

// With copies a version for [Change.Replace]; its handle is opened anew.
func (v *Version) With(change func(*Version)) *Version {
	c := &Version{Number: v.Number, Created: v.Created, Provider: v.Provider, Chain: v.Chain}
	c.Material = Material{Reference: v.Material.Reference.Clone(), Public: v.Material.Public}
	change(c)
	return c
}

// Change changes a key in one commit. Where change returns an error nothing happens.
func (s *Store) Change(
	ctx context.Context, name string, change func(ctx context.Context, c *Change) error,
) (*Key, error) {
	defer s.lock(name)()
	k, err := s.load(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &Change{Settings: k.Settings, key: k}
	if err := change(ctx, c); err != nil {
		return nil, err
	}
	if len(c.added) == 0 && c.Settings == k.Settings {
		return k, nil
	}
	return s.commit(ctx, c)
}

// commit writes a change; the caller holds the key's stripe. After an error whose outcome is
// unknown the key is read again.
func (s *Store) commit(ctx context.Context, c *Change, conditions ...storage.Condition) (*Key, error) {
	k := c.key
	next := &Key{Name: k.Name, Settings: c.Settings, id: k.id, store: s, cache: &versions{by: map[int]*Version{}},
		use: k.use}
	b := storage.Batch{If: conditions, Ops: []storage.Op{storage.Put(settingsPrefix+k.Name, c.marshal(k.id))}}
	k.cache.mu.RLock()
	for n, v := range k.cache.by {
		if n >= c.MinAvailable {
			next.cache.by[n] = v
		}
	}
	k.cache.mu.RUnlock()
	for _, v := range c.added {
		record, err := v.marshal()
		if err != nil {
			return nil, err
		}
		defer record.Destroy()
		b.Ops = append(b.Ops, storage.Put(k.versionKey(v.Number), record.Expose()))
		if v.Provider != Software && v.Number > k.Latest {
			b.Ops = append(b.Ops, storage.Delete(k.noteKey(v.Number)))
		}
		next.cache.by[v.Number] = v
	}
	b.Ops = append(b.Ops, c.lost...)
	trimmed := c.MinAvailable > max(k.MinAvailable, 1)
	if trimmed {
		s.notes.Lock()
		defer s.notes.Unlock()
		b.Ops = append(b.Ops, storage.Put(garbageKey(k.id), garbage{before: uint32(c.MinAvailable)}.marshal()))
	}
	if err := s.write(ctx, k.Name, b); err != nil {
		return nil, err
	}
	s.keep(next)
	if trimmed {
		s.sweepNow(ctx, k.id)
	}
	return next, nil
}

// write commits. Memory forgets the key where it is not certain that nothing was written.
func (s *Store) write(ctx context.Context, name string, b storage.Batch) error {
	failpoint.Point("keys.commit")
	err := s.base.Commit(ctx, b)
	switch {
	case err == nil:
		return nil
	case !storage.NothingWritten(err):
		s.drop(name)
	case errors.Is(err, storage.ErrTooLarge):
		return fault.Wrap(err, fault.TooLarge, "the key %s is too large for one entry: fewer or smaller certificates help",
			name)
	case errors.Is(err, storage.ErrInvalidKey):
		return fault.Wrap(err, fault.Invalid, "the name of the key is too long")
	}
	return err
}

// Delete removes a key and all of its versions. check refuses it.
func (s *Store) Delete(ctx context.Context, name string, check func(ctx context.Context, k *Key) error) error {
	defer s.lock(name)()
	k, err := s.load(ctx, name)
	if err != nil {
		return err
	}
	if err := check(ctx, k); err != nil {
		return err
	}
	s.notes.Lock()
	defer s.notes.Unlock()
	if err := s.write(ctx, name, storage.Batch{Ops: s.removal(k)}); err != nil {
		return err
	}
	s.drop(name)
	s.forget(k.id)
	s.sweepNow(ctx, k.id)
	return nil
}

// removal decides that a key is gone.
func (s *Store) removal(k *Key) []storage.Op {
	return []storage.Op{
		storage.Delete(settingsPrefix + k.Name), storage.Delete(usePrefix + hex.EncodeToString(k.id[:])),
		storage.Put(garbageKey(k.id), garbage{before: everything}.marshal()),
	}
}
