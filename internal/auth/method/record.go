package method

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// ErrRecord is returned for stored bytes that are not a record.
var ErrRecord = errors.New("method: not a valid record")

const recordVersion = 1

// Marshal returns the stored form of a record: version u8 = 1 | JSON. Unmarshal refuses unknown
// keys: a later version changes the first byte.
func Marshal(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("method: writing a record: %w", err)
	}
	return append([]byte{recordVersion}, body...), nil
}

// Unmarshal is the inverse of [Marshal]; it fails with [ErrRecord].
func Unmarshal(record []byte, into any) error {
	if len(record) == 0 || record[0] != recordVersion {
		return fmt.Errorf("%w: the version must be %d", ErrRecord, recordVersion)
	}
	d := json.NewDecoder(bytes.NewReader(record[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: trailing bytes", ErrRecord)
	}
	return nil
}

// Load reads the record at a key; nil if there is none.
func Load[T any](ctx context.Context, store mount.Storage, key string) (*T, error) {
	record, err := store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := Unmarshal(record, v); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the record is damaged; overwrite or delete it")
	}
	return v, nil
}

// Exists answers [mount.ExistenceChecker] for the paths below a folder such as "role/", whose
// records are of type T. known is false for other paths.
func Exists[T any](ctx context.Context, store mount.Storage, path, folder, prefix string) (exists, known bool,
	err error) {
	name, ok := strings.CutPrefix(path, folder)
	if !ok {
		return false, false, nil
	}
	v, err := Load[T](ctx, store, prefix+strings.ToLower(name))
	return v != nil, true, err
}

// Save writes a record.
func Save(ctx context.Context, store mount.Storage, key string, v any) error {
	op, err := Put(key, v)
	if err != nil {
		return err
	}
	return store.Commit(ctx, storage.Batch{Ops: []storage.Op{op}})
}

// Put returns the operation that writes a record.
func Put(key string, v any) (storage.Op, error) {
	record, err := Marshal(v)
	return storage.Put(key, record), err
}

// Remove deletes a record.
func Remove(ctx context.Context, store mount.Storage, key string) error {
	return store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(key)}})
}

// Record is a kind of record that requests read, write and delete by name: roles, certificates.
type Record[T any] struct {
	What   string // "role name", for errors
	Prefix string // of the keys in the storage
	New    func(name string) *T
	Show   func(*T) map[string]any
	Read   func(*T, field.Map) error // the fields of a write; what is not given stays
}

// Handle answers a request for the record of a name. The caller holds the lock of the writes.
func (k Record[T]) Handle(ctx context.Context, store mount.Storage, r *mount.Request, name string) (
	*mount.Response, error) {
	name, err := Name(k.What, name)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Operation == mount.Delete:
		return nil, Remove(ctx, store, k.Prefix+name)
	case r.Operation != mount.Read && !IsWrite(r.Operation):
		return nil, ErrUnsupported
	}
	v, err := Load[T](ctx, store, k.Prefix+name)
	switch {
	case err != nil:
		return nil, err
	case r.Operation == mount.Read && v == nil:
		return nil, nil
	case r.Operation == mount.Read:
		return &mount.Response{Data: k.Show(v)}, nil
	case v == nil:
		v = k.New(name)
	}
	if err := k.Read(v, field.Map(r.Data)); err != nil {
		return nil, err
	}
	return nil, Save(ctx, store, k.Prefix+name, v)
}

// Keys answers a list of the names below a prefix; nil if there are none.
func Keys(ctx context.Context, store mount.Storage, prefix string) (*mount.Response, error) {
	names, err := store.List(ctx, prefix, "", 0)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], "/")
	}
	return &mount.Response{Data: map[string]any{"keys": names}}, nil
}

// IsWrite reports whether an operation is a create or an update.
func IsWrite(o mount.Operation) bool { return o == mount.Create || o == mount.Update }
