// Package kv keeps secrets under paths: Vault's key-value engine, version 1.
//
// It guarantees that a read gives the value of the last write that was acknowledged, with numbers as
// they were written and the keys in sorted order; that a write replaces the whole value; and that a
// read costs no decoding of the value.
//
// It does not guarantee what version 2 does (versions, check-and-set, metadata); a mount that asks for it
// is refused.
//
// Stays compatible: the record of an entry, whose first byte is its version, and "v1/" before its path.
package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// entries is where version 1 keeps its values: a later upgrade to version 2 finds both apart.
const entries = "v1/"

// door answers below one mount.
type door struct {
	store doors.Storage
	lease int // seconds, where the value names none
}

// New is the [doors.Factory] of the type "kv".
func New(store doors.Storage, m doors.Mount) (doors.Door, error) {
	switch version := m.Options["version"]; version {
	case "", "1":
	case "2":
		return nil, fault.New(fault.Invalid,
			`version 2 of the kv engine is not there yet: mount version 1 (type "kv" without options.version, or options.version "1")`)
	default:
		return nil, fault.New(fault.Invalid, `options.version of a kv mount is %q; it can be "1"`, version)
	}
	d := &door{store: store, lease: int(m.Config.DefaultLeaseTTL)}
	if d.lease <= 0 {
		d.lease = doors.DefaultLeaseTTL
	}
	return d, nil
}

// Handle answers read, list, create, update and delete.
func (d *door) Handle(ctx context.Context, r *doors.Request) (*doors.Response, error) {
	switch r.Operation {
	case doors.Read:
		return d.read(ctx, r.Path)
	case doors.List:
		return d.list(ctx, r)
	case doors.Create, doors.Update:
		return nil, d.write(ctx, r.Path, r.Data)
	case doors.Delete:
		return nil, d.delete(ctx, r.Path)
	}
	return nil, fault.New(fault.Unsupported, "unsupported operation")
}

// Exists reports whether a write to path is an update.
func (d *door) Exists(ctx context.Context, path string) (bool, error) {
	_, err := d.get(ctx, path)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return false, nil
	case errors.Is(err, storage.ErrCorrupt): // a damaged entry is there, and writing it anew is what mends it
		return true, nil
	}
	return err == nil, err
}

// get reads a record. A path that cannot be a key holds nothing.
func (d *door) get(ctx context.Context, path string) ([]byte, error) {
	if path == "" {
		return nil, storage.ErrNotFound
	}
	b, err := d.store.Get(ctx, entries+path)
	if errors.Is(err, storage.ErrInvalidKey) {
		return nil, storage.ErrNotFound
	}
	return b, err
}

func (d *door) read(ctx context.Context, path string) (*doors.Response, error) {
	b, err := d.get(ctx, path)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := unmarshal(b)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the entry at %q cannot be read: its record is damaged", path)
	}
	lease := v.lease
	if lease == noLease {
		lease = int64(d.lease)
	}
	return &doors.Response{Data: v.data, LeaseDuration: int(lease)}, nil
}

// keys is the answer to a list.
type keys struct {
	Keys []string `json:"keys"`
}

// list gives all names, or a page of them: "limit" names that come after "after".
func (d *door) list(ctx context.Context, r *doors.Request) (*doors.Response, error) {
	limit := 0
	if text := r.Query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fault.New(fault.Invalid, `"limit" must be a number, the most names to be listed`)
		}
		limit = n
	}
	names, err := d.store.List(ctx, entries+r.Path, r.Query.Get("after"), limit)
	if err != nil && !errors.Is(err, storage.ErrInvalidKey) {
		return nil, err
	}
	if len(names) == 0 {
		return nil, nil
	}
	return &doors.Response{Data: keys{Keys: names}}, nil
}

func (d *door) write(ctx context.Context, path string, data map[string]any) error {
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
	return d.commit(ctx, path, storage.Put(entries+path, value))
}

func (d *door) delete(ctx context.Context, path string) error {
	if path == "" {
		return fault.New(fault.Invalid, "the name of the secret is missing: delete a path below the mount")
	}
	return d.commit(ctx, path, storage.Delete(entries+path))
}

func (d *door) commit(ctx context.Context, path string, op storage.Op) error {
	err := d.store.Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
	switch {
	case errors.Is(err, storage.ErrTooLarge):
		return fault.Wrap(err, fault.TooLarge,
			"the value has %d bytes and is too large: an entry with its path can hold at most %d bytes; write several smaller ones",
			len(op.Value), storage.MaxBytes)
	case errors.Is(err, storage.ErrInvalidKey):
		return fault.Wrap(err, fault.Invalid,
			"the path %q cannot be stored: no empty, \".\" or \"..\" segments, no NUL, UTF-8, and at most %d bytes with the mount's own", path, storage.MaxKey)
	}
	return err
}

// encode gives JSON with sorted keys and nothing escaped that need not be.
func encode(data map[string]any) (json.RawMessage, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(data); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// leaseOf is what the value itself says about how long it may be kept: its entry "ttl", else "lease", in seconds.
func leaseOf(data map[string]any) int64 {
	for _, name := range []string{"ttl", "lease"} {
		if v, ok := data[name]; ok {
			if lease, err := doors.ParseDuration(v); err == nil && lease >= 0 {
				return int64(lease / time.Second)
			}
			return noLease
		}
	}
	return noLease
}
