package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// entries is the key prefix of version 1, distinct from version 2's, so an upgrade can
// distinguish them.
const entries = "v1/"

// plain is version 1: one value for each path, replaced as a whole.
type plain struct {
	store   mount.Storage
	entries string // key prefix
	lease   int    // seconds, unless the value sets one
	now     func() time.Time
}

// Handle answers read, list, scan, create, update and delete.
func (d *plain) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	switch r.Operation {
	case mount.Read:
		return d.read(ctx, r.Path)
	case mount.List:
		return d.list(ctx, r)
	case mount.Scan:
		return d.scan(ctx, r)
	case mount.Create, mount.Update:
		return nil, d.write(ctx, r.Path, r.Data)
	case mount.Delete:
		return nil, d.delete(ctx, r.Path)
	}
	return nil, fault.New(fault.Unsupported, "unsupported operation")
}

// Exists reports whether a write to path is an update.
func (d *plain) Exists(ctx context.Context, path string) (bool, error) {
	_, err := d.get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return false, nil
	case errors.Is(err, storage.ErrCorrupt): // a damaged entry exists; a write overwrites it
		return true, nil
	}
	return err == nil, err
}

// get reads a record. A path that cannot be a key has none.
func (d *plain) get(ctx context.Context, path string) ([]byte, error) {
	if path == "" {
		return nil, storage.ErrNotFound
	}
	b, err := d.store.Get(ctx, d.entries+path)
	if errors.Is(err, storage.ErrInvalidKey) {
		return nil, storage.ErrNotFound
	}
	return b, err
}

func (d *plain) read(ctx context.Context, path string) (*mount.Response, error) {
	b, err := d.get(ctx, path)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := unmarshal(b)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the entry at %q cannot be read: its record is damaged; overwrite or "+
			"delete it", path)
	}
	lease := v.lease
	if lease == noLease {
		lease = int64(d.lease)
	}
	return &mount.Response{Data: v.data, LeaseDuration: int(lease)}, nil
}

func (d *plain) folder(ctx context.Context, folder, after string, limit int) ([]string, error) {
	return d.store.List(ctx, d.entries+folder, after, limit)
}

// list returns all names, or a page of them: at most "limit" names after "after".
func (d *plain) list(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	return shownKeys(lister(d.folder).names(ctx, r.Path, p))
}

// scan lists recursively.
func (d *plain) scan(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	p, err := readPage(r)
	if err != nil {
		return nil, err
	}
	return shownKeys(lister(d.folder).tree(ctx, r.Path, p))
}

func (d *plain) write(ctx context.Context, path string, data map[string]any) error {
	if path == "" {
		return fault.New(fault.Invalid, "the name of the secret is missing: write to a path below the mount")
	}
	if len(data) == 0 {
		return fault.New(fault.Invalid, "missing data fields")
	}
	value, err := marshal(data)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the data cannot be written as JSON")
	}
	return d.commit(ctx, path, storage.Put(d.entries+path, value))
}

func (d *plain) delete(ctx context.Context, path string) error {
	if path == "" {
		return fault.New(fault.Invalid, "the name of the secret is missing: delete a path below the mount")
	}
	return d.commit(ctx, path, storage.Delete(d.entries+path))
}

func (d *plain) commit(ctx context.Context, path string, op storage.Op) error {
	err := d.store.Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return fault.Wrap(err, fault.TooLarge,
			"the value has %d bytes and is too large: an entry with its path can hold at most %d bytes; write several smaller "+
				"ones",
			len(op.Value), storage.MaxBytes)
	case errors.Is(err, storage.ErrInvalidKey):
		return errPath(err, path)
	}
	return err
}

// encode returns JSON with sorted keys and minimal escaping.
func encode(data map[string]any) (json.RawMessage, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(data); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// leaseOf returns the lease in seconds that the value sets in its entry "ttl", else "lease".
func leaseOf(data map[string]any) int64 {
	for _, name := range []string{"ttl", "lease"} {
		if v, ok := data[name]; ok {
			if lease, err := field.ParseDuration(v); err == nil && lease >= 0 {
				return int64(lease / time.Second)
			}
			return noLease
		}
	}
	return noLease
}
