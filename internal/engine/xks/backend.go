package xks

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// Places below the mount.
const (
	storePrefix = "s/" // + store
	keyPrefix   = "k/" // + store + "/" + external key id
	usePrefix   = "u/" // + store
)

// Bounds. A server has few stores; a store has thousands of keys.
const (
	maxStores = 256
	maxCached = 16384
)

// Options are the dependencies of a backend.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// New is the [mount.Factory] of the type "xks".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "xks" with a clock and randomness of one's own.
func Factory(o Options) mount.Factory {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		return &backend{base: store, now: o.Now, rand: o.Rand, keys: map[string]*xks.ExternalKey{},
			used: map[string]map[string]time.Time{}}, nil
	}
}

var _ xks.Directory = (*backend)(nil)

// index is all stores as of one commit. It is immutable.
type index struct {
	byName   map[string]*store
	byPrefix map[string]*store
}

type backend struct {
	base mount.Storage
	now  func() time.Time
	rand io.Reader

	changing sync.Mutex // held while a record is changed
	stores   atomic.Pointer[index]

	mu    sync.RWMutex
	keys  map[string]*xks.ExternalKey // by "<store>/<id>"; nil: there is none
	drops uint64                      // how often something was dropped: what was read before is not kept
	used  map[string]map[string]time.Time
}

// Invalidate drops what another node has changed.
func (b *backend) Invalidate(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drops++
	if name, ok := strings.CutPrefix(key, keyPrefix); ok {
		delete(b.keys, name)
		return
	}
	if strings.HasPrefix(key, storePrefix) {
		b.stores.Store(nil)
	}
}

// all returns the stores, read once.
func (b *backend) all(ctx context.Context) (*index, error) {
	if x := b.stores.Load(); x != nil {
		return x, nil
	}
	b.mu.RLock()
	drops := b.drops
	b.mu.RUnlock()
	names, err := b.base.List(ctx, storePrefix, "", 0)
	if err != nil {
		return nil, err
	}
	x := &index{byName: map[string]*store{}, byPrefix: map[string]*store{}}
	for _, name := range names {
		raw, err := b.base.Get(ctx, storePrefix+name)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := parseStore(name, raw)
		clear(raw)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the external key store %s cannot be read: its record is damaged", name)
		}
		x.byName[name], x.byPrefix[s.Prefix] = s, s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if drops == b.drops {
		b.stores.Store(x)
	}
	return x, nil
}

// StoreOf implements [xks.Directory].
func (b *backend) StoreOf(ctx context.Context, prefix string) (*xks.Store, error) {
	x, err := b.all(ctx)
	if err != nil || x.byPrefix[prefix] == nil {
		return nil, err
	}
	return &x.byPrefix[prefix].Store, nil
}

// KeyOf implements [xks.Directory]. That there is no key is not remembered: anybody can ask for any
// id.
func (b *backend) KeyOf(ctx context.Context, store, id string) (*xks.ExternalKey, error) {
	name := store + "/" + id
	b.mu.RLock()
	k, drops := b.keys[name], b.drops
	b.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	raw, err := b.base.Get(ctx, keyPrefix+name)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if k, err = parseKey(id, raw); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the external key %s cannot be read: its record is damaged", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if drops == b.drops {
		b.keep(name, k)
	}
	return k, nil
}

// keep remembers a key; any other makes room. The caller holds mu.
func (b *backend) keep(name string, k *xks.ExternalKey) {
	for other := range b.keys {
		if len(b.keys) < maxCached {
			break
		}
		delete(b.keys, other)
	}
	b.keys[name] = k
}

// Propose implements [xks.Directory].
func (b *backend) Propose(ctx context.Context, store, id, arn string) (*xks.ExternalKey, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	k, err := b.KeyOf(ctx, store, id)
	if err != nil || k == nil || k.Proposed != "" || k.Pin != "" {
		return k, err
	}
	next := *k
	next.Proposed = arn
	return &next, b.putKey(ctx, store, &next)
}

// Used implements [xks.Directory].
func (b *backend) Used(store, accessKeyID string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used[store] == nil {
		b.used[store] = map[string]time.Time{}
	}
	b.used[store][accessKeyID] = at
}

// lastUses returns when the credentials of a store were used last.
func (b *backend) lastUses(ctx context.Context, name string) (map[string]time.Time, error) {
	uses := map[string]time.Time{}
	raw, err := b.base.Get(ctx, usePrefix+name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if uses, err = parseUses(raw); err != nil {
			uses = map[string]time.Time{} // times are no reason to stop; they begin anew
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for id, at := range b.used[name] {
		if at.After(uses[id]) {
			uses[id] = at
		}
	}
	return uses, nil
}

// Tick writes when credentials were used last, of those that there are.
func (b *backend) Tick(ctx context.Context) error {
	x, err := b.all(ctx)
	if err != nil {
		return err
	}
	b.mu.RLock()
	names := slices.Sorted(maps.Keys(b.used))
	b.mu.RUnlock()
	for _, name := range names {
		uses, err := b.lastUses(ctx, name)
		if err != nil {
			return err
		}
		s := x.byName[name]
		if s == nil {
			continue
		}
		var order []string
		for _, c := range s.Credentials {
			if !uses[c.AccessKeyID].IsZero() {
				order = append(order, c.AccessKeyID)
			}
		}
		raw, err := marshalUses(uses, order)
		if err != nil {
			return err
		}
		if err := b.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(usePrefix+name, raw)}}); err != nil {
			return err
		}
	}
	return nil
}

// putStore commits a store. The caller holds changing.
func (b *backend) putStore(ctx context.Context, s *store) error {
	raw, err := s.marshal()
	if err != nil {
		return err
	}
	defer raw.Destroy()
	return b.commit(ctx, storage.Put(storePrefix+s.Name, raw.Expose()))
}

// putKey commits an external key. The caller holds changing.
func (b *backend) putKey(ctx context.Context, store string, k *xks.ExternalKey) error {
	raw, err := marshalKey(k)
	if err != nil {
		return err
	}
	return b.commit(ctx, storage.Put(keyPrefix+store+"/"+k.ID, raw))
}

// commit writes, and forgets what it has changed, whatever the outcome.
func (b *backend) commit(ctx context.Context, ops ...storage.Op) error {
	err := b.base.Commit(ctx, storage.Batch{Ops: ops})
	for _, op := range ops {
		b.Invalidate(op.Key)
	}
	return err
}

var (
	storeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	keyID     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
)

var (
	errNoPath      = fault.New(fault.NotFound, "unsupported path")
	errUnsupported = fault.New(fault.Unsupported, "unsupported operation")
	errNoStore     = fault.New(fault.NotFound, "no external key store has this name")
	errNoKey       = fault.New(fault.NotFound, "the store has no external key of this id")
)

// handler answers one kind of path. store and rest are its variable segments.
type handler func(b *backend, ctx context.Context, r *mount.Request, store, rest string) (*mount.Response, error)

// operations of one kind of path.
type operations struct{ read, list, write, remove handler }

var paths map[string]operations

func init() { // the handlers refer to the table
	paths = map[string]operations{
		"stores":        {list: listStores},
		"store":         {read: readStore, write: writeStore, remove: removeStore},
		"credentials":   {list: listCredentials, write: addCredential},
		"credential":    {remove: removeCredential},
		"download":      {read: download},
		"keys":          {list: listKeys},
		"key":           {read: readKey, write: writeKey, remove: removeKey},
		"key confirmed": {write: confirmKey},
	}
}

// kindOf names the kind of a path below the mount.
func kindOf(path string) (kind, store, rest string) {
	segs := strings.Split(strings.Trim(path, "/"), "/")
	if segs[0] != "stores" || len(segs) > 5 {
		return "", "", ""
	}
	if len(segs) == 1 {
		return "stores", "", ""
	}
	if !storeName.MatchString(segs[1]) {
		return "", "", ""
	}
	store = segs[1]
	switch {
	case len(segs) == 2:
		return "store", store, ""
	case len(segs) == 3 && (segs[2] == "credentials" || segs[2] == "download" || segs[2] == "keys"):
		return segs[2], store, ""
	case len(segs) == 4 && segs[2] == "credentials":
		return "credential", store, segs[3]
	case segs[2] != "keys" || !keyID.MatchString(segs[3]):
		return "", "", ""
	case len(segs) == 4:
		return "key", store, segs[3]
	case segs[4] == "confirm":
		return "key confirmed", store, segs[3]
	}
	return "", "", ""
}

// Handle implements [mount.Backend].
func (b *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	kind, store, rest := kindOf(r.Path)
	o, ok := paths[kind]
	if !ok {
		return nil, errNoPath
	}
	var h handler
	switch r.Operation {
	case mount.Read:
		h = o.read
	case mount.List:
		h = o.list
	case mount.Create, mount.Update:
		h = o.write
	case mount.Delete:
		h = o.remove
	}
	if h == nil {
		return nil, errUnsupported
	}
	return h(b, ctx, r, store, rest)
}
