package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Storage keys behind the barrier.
const (
	tableKey   = "core/audit"
	viewPrefix = "audit/" // + uuid + "/salt"
)

func saltKey(id string) string { return viewPrefix + id + "/salt" }

// ErrRecord is returned for stored bytes that are not a record of this package.
var ErrRecord = errors.New("audit: not a valid record")

const recordVersion = 1

// table is the record at "core/audit":
//
//	version u8 = 1 | JSON {"devices":[ device, ... ],"headers":[ header, ... ]}, sorted by path and
//	by name
//
// Unknown keys are refused: a later version changes the first byte.
type table struct {
	Devices []stored `json:"devices,omitempty"`
	Headers []header `json:"headers,omitempty"`
}

// stored is a device in the table.
type stored struct {
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
	Local       bool              `json:"local,omitempty"`
	Declared    bool              `json:"declared,omitempty"`
	UUID        string            `json:"uuid"` // its salt is at "audit/<uuid>/salt"
}

// header is a request header that entries show.
type header struct {
	Name string `json:"name"` // in lower case
	HMAC bool   `json:"hmac,omitempty"`
}

func (s stored) config() Config {
	return Config{Path: s.Path, Type: s.Type, Description: s.Description, Options: s.Options, Local: s.Local,
		Declared: s.Declared}
}

func newStored(c Config, id string) stored {
	return stored{c.Path, c.Type, c.Description, c.Options, c.Local, c.Declared, id}
}

func (t table) marshal() ([]byte, error) {
	slices.SortFunc(t.Devices, func(a, b stored) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(t.Headers, func(a, b header) int { return cmp.Compare(a.Name, b.Name) })
	body, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("audit: writing the table of devices: %w", err)
	}
	return append([]byte{recordVersion}, body...), nil
}

func unmarshalTable(b []byte) (t table, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return t, fmt.Errorf("%w: the version must be %d", ErrRecord, recordVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return table{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return table{}, fmt.Errorf("%w: trailing bytes", ErrRecord)
	}
	if len(t.Devices) > maxDevices || len(t.Headers) > maxHeaders {
		return table{}, fmt.Errorf("%w: it has too many devices or headers", ErrRecord)
	}
	for i, s := range t.Devices {
		clean, err := CleanPath(s.Path)
		if err != nil || clean != s.Path || !uuid.Valid(s.UUID) {
			return table{}, fmt.Errorf("%w: the device %q with the id %q", ErrRecord, s.Path, s.UUID)
		}
		if i > 0 && t.Devices[i-1].Path >= s.Path {
			return table{}, fmt.Errorf("%w: %q is out of order or a duplicate", ErrRecord, s.Path)
		}
	}
	for i, h := range t.Headers {
		if !validHeader(h.Name) || i > 0 && t.Headers[i-1].Name >= h.Name {
			return table{}, fmt.Errorf("%w: the header %q", ErrRecord, h.Name)
		}
	}
	return t, nil
}

// readTable reads the table; a missing one is empty.
func readTable(ctx context.Context, e Entries) (table, error) {
	value, err := e.Get(ctx, tableKey)
	if errors.Is(err, storage.ErrNotFound) {
		return table{}, nil
	}
	if err != nil {
		return table{}, fmt.Errorf("audit: reading the table of devices: %w", err)
	}
	return unmarshalTable(value)
}

// The record at "audit/<uuid>/salt" is the text of a UUID, which is the key of the device's HMACs:
//
//	version u8 = 1 | 36 characters
func marshalSalt(salt string) []byte { return append([]byte{recordVersion}, salt...) }

func readSalt(ctx context.Context, e Entries, id string) (string, error) {
	b, err := e.Get(ctx, saltKey(id))
	if err != nil {
		return "", fmt.Errorf("audit: reading a device's salt: %w", err)
	}
	if len(b) != 37 || b[0] != recordVersion {
		return "", fmt.Errorf("%w: a device's salt", ErrRecord)
	}
	return string(b[1:]), nil
}

// index returns the position of a path; -1 if it is missing.
func (t table) index(path string) int {
	return slices.IndexFunc(t.Devices, func(s stored) bool { return s.Path == path })
}
