package kv

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// Key prefixes of version 2.
const (
	secretsPrefix = "m/" // + path
	valuesPrefix  = "d/" // + id in hex + "/" + number
	inlineMost    = 4 << 10
)

// versioned is version 2.
type versioned struct {
	store   mount.Storage
	now     func() time.Time
	rnd     io.Reader
	pending atomic.Pointer[pending] // nil: not read yet

	seed  maphash.Seed
	locks [256]stripe // serialise changes, by path
}

// stripe is a lock that counts its releases, so that a record read before can be found unchanged.
type stripe struct {
	sync.Mutex
	changes atomic.Uint64
}

func (s *stripe) Unlock() {
	s.changes.Add(1)
	s.Mutex.Unlock()
}

func newVersioned(store mount.Storage, o Options) *versioned {
	return &versioned{store: store, now: o.Now, rnd: o.Rand, seed: maphash.MakeSeed()}
}

func (d *versioned) stripe(path string) int {
	return int(maphash.String(d.seed, path) % uint64(len(d.locks)))
}

func (d *versioned) lock(path string) (unlock func()) {
	s := &d.locks[d.stripe(path)]
	s.Lock()
	return s.Unlock
}

// call handles an operation on one of the paths below.
type call func(d *versioned, ctx context.Context, path string, r *mount.Request) (*mount.Response, error)

// calls maps the first path segment to its operations. A write is listed as an update.
var calls = map[string]map[mount.Operation]call{
	"data": {
		mount.Read: (*versioned).read, mount.Update: (*versioned).write, mount.Patch: (*versioned).patch,
		mount.Delete: (*versioned).deleteCurrent,
	},
	"metadata": {
		mount.Read: (*versioned).readMetadata, mount.Update: (*versioned).writeMetadata,
		mount.Patch:  (*versioned).patchMetadata,
		mount.Delete: (*versioned).deleteMetadata, mount.List: (*versioned).list, mount.Scan: (*versioned).scan,
	},
	"detailed-metadata": {mount.List: (*versioned).listDetailed, mount.Scan: (*versioned).scanDetailed},
	"delete":            {mount.Update: (*versioned).deleteVersions},
	"undelete":          {mount.Update: (*versioned).undeleteVersions},
	"destroy":           {mount.Update: (*versioned).destroyVersions},
	"subkeys":           {mount.Read: (*versioned).subkeys},
}

// Handle dispatches by the first path segment.
func (d *versioned) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	op := r.Operation
	if op == mount.Create {
		op = mount.Update
	}
	if r.Path == "config" {
		return d.configure(ctx, op, r)
	}
	kind, path, _ := strings.Cut(r.Path, "/")
	all := calls[kind]
	lists := op == mount.List || op == mount.Scan
	if all == nil || path == "" && !lists {
		return wrongPath(r)
	}
	f := all[op]
	if f == nil {
		return nil, fault.New(fault.Unsupported, "unsupported operation")
	}
	return f(d, ctx, path, r)
}

// wrongPath answers a client that uses the paths of version 1. The beginning of the text is
// Vault's, because scripts match it.
func wrongPath(r *mount.Request) (*mount.Response, error) {
	text := "Invalid path for a versioned K/V secrets engine: values are below data/; metadata/, delete/, undelete/, " +
		"destroy/ and " +
		"config are the other paths."
	command := map[mount.Operation]string{
		mount.Read: "kv get", mount.List: "kv list", mount.Create: "kv put", mount.Update: "kv put",
		mount.Patch: "kv patch", mount.Delete: "kv delete",
	}[r.Operation]
	if command != "" {
		text += " On the command line '" + command + "' finds the path automatically."
	}
	return &mount.Response{Status: 404, Warnings: []string{text}}, nil
}

// nothing is the response to a write to a missing secret: 404 with an empty list of errors.
func nothing() *mount.Response { return &mount.Response{Status: 404} }

// found is a secret as [versioned.Find] read it.
type found struct {
	path    string
	secret  *secret // nil if there is none
	changes uint64  // of the path's stripe, before the read
}

// Find implements [mount.Finder]. A write to a path is an update, except for the first write to a
// secret or to its metadata.
func (d *versioned) Find(ctx context.Context, full string) (bool, any, error) {
	kind, path, _ := strings.Cut(full, "/")
	if path == "" || kind != "data" && kind != "metadata" {
		return true, nil, nil
	}
	changes := d.locks[d.stripe(path)].changes.Load()
	s, err := d.load(ctx, path)
	if isDamaged(err) {
		return true, nil, nil // a damaged entry exists
	}
	if err != nil {
		return false, nil, err
	}
	if up := d.pending.Load(); up == nil || !up.done {
		return s != nil, nil, nil // an entry of version 1 must be moved first
	}
	return s != nil, &found{path: path, secret: s, changes: changes}, nil
}

func isDamaged(err error) bool {
	return errors.Is(err, errRecord) || errors.Is(err, storage.ErrCorrupt)
}

// load reads a secret, including one that an upgrade has not moved yet; nil if there is none.
func (d *versioned) load(ctx context.Context, path string) (*secret, error) {
	up, err := d.upgrading(ctx) // before the read: an upgrade that ends in between has moved everything
	if err != nil {
		return nil, err
	}
	s, err := d.loadMoved(ctx, path)
	if s != nil || err != nil || up.done {
		return s, err
	}
	if s, err = d.loadPlain(ctx, path, up); s != nil || err != nil {
		return s, err
	}
	return d.loadMoved(ctx, path) // moved between the two reads
}

func (d *versioned) loadMoved(ctx context.Context, path string) (*secret, error) {
	b, err := d.store.Get(ctx, secretsPrefix+path)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, nil
	case err != nil:
		return nil, err
	}
	s, err := parseSecret(b)
	if err != nil {
		return nil, damaged(err, path)
	}
	return &s, nil
}

func damaged(err error, path string) error {
	return fault.Wrap(err, fault.Internal, "the secret at %q cannot be read: its record is damaged; overwrite it, or "+
		"delete its metadata", path)
}

func (d *versioned) valueKey(of id, number uint64) string {
	return valuesPrefix + hex.EncodeToString(of[:]) + "/" + strconv.FormatUint(number, 10)
}

// A value outside its secret's record is stored as
//
//	version u8 = 1 | JSON object
const valueVersion = 1

func marshalValue(data json.RawMessage) []byte { return append([]byte{valueVersion}, data...) }

func parseValue(b []byte) (json.RawMessage, error) {
	if len(b) < 1+len("{}") || b[0] != valueVersion {
		return nil, fmt.Errorf("%w: a value must be version %d", errRecord, valueVersion)
	}
	return object(b[1:])
}

// value returns the value of a version, from the secret's record if it is there.
func (d *versioned) value(ctx context.Context, path string, s *secret, number uint64) (json.RawMessage, error) {
	if number == s.current && s.value != nil {
		return s.value, nil
	}
	b, err := d.store.Get(ctx, d.valueKey(s.id, number))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, damaged(fmt.Errorf("%w: version %d has no value", errRecord, number), path)
	}
	if err != nil {
		return nil, err
	}
	v, err := parseValue(b)
	if err != nil {
		return nil, damaged(err, path)
	}
	return v, nil
}

// save writes a secret, and removes the values of evicted versions, in one commit. If they are too
// many for one commit, it also commits a note of the rest, which it removes before it returns, or
// [versioned.Maintain] does after a crash.
func (d *versioned) save(ctx context.Context, path string, s *secret, gone []uint64, more ...storage.Op) error {
	record, err := s.marshal()
	if err != nil {
		return fault.Wrap(err, fault.TooLarge, "the secret is too large")
	}
	return d.commit(ctx, path, s.id, gone, append(more, storage.Put(secretsPrefix+path, record)))
}

func (d *versioned) commit(ctx context.Context, path string, of id, gone []uint64, ops []storage.Op) error {
	var left string
	var err error
	if len(gone) > mount.MaxOps-len(ops) {
		var op storage.Op
		if op, err = d.garbage(of, gone); err != nil {
			return err
		}
		left, ops = op.Key, append(ops, op)
	} else {
		for _, n := range gone {
			ops = append(ops, storage.Delete(d.valueKey(of, n)))
		}
	}
	size := 0
	for _, op := range ops {
		size += len(op.Value)
	}
	switch err = d.store.Commit(ctx, storage.Batch{Ops: ops}); {
	case errors.Is(err, storage.ErrTooLarge):
		return fault.Wrap(err, fault.TooLarge, "the value is too large: with its metadata, and the version before it where "+
			"that is small, "+
			"it takes %d bytes, and a commit can hold at most %d with its paths; write several smaller secrets", size,
			storage.MaxBytes)
	case errors.Is(err, storage.ErrInvalidKey):
		return errPath(err, path)
	case err != nil || left == "":
		return err
	}
	return d.sweep(ctx, left)
}

func errPath(err error, path string) error {
	return fault.Wrap(err, fault.Invalid,
		"the path %q cannot be stored: no empty, \".\" or \"..\" segments, no NUL, UTF-8, and at most %d bytes with the "+
			"mount's own",
		path, storage.MaxKey)
}

// fresh returns a secret that does not exist yet.
func (d *versioned) fresh() (*secret, error) {
	now := d.now().UnixNano()
	s := &secret{created: now, updated: now}
	if _, err := io.ReadFull(d.rnd, s.id[:]); err != nil {
		return nil, fmt.Errorf("kv: making a secret's id: %w", err)
	}
	return s, nil
}
