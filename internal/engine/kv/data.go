package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

func (d *versioned) read(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	number, err := queryNumber(r, "version")
	if err != nil {
		return nil, err
	}
	s, v, value, err := d.readVersion(ctx, path, number)
	if s == nil || err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(`{"data":,"metadata":}`)+len(value)+len(s.custom)+200)
	b = append(b, `{"data":`...)
	b = appendRaw(b, value)
	b = append(b, `,"metadata":`...)
	b = append(appendVersion(b, s, v), '}')
	return &mount.Response{Data: json.RawMessage(b), Status: statusOf(value)}, nil
}

// readVersion reads a version; 0 is the current one. It returns a nil secret if there is none, and
// a nil value if the version is deleted or destroyed.
func (d *versioned) readVersion(ctx context.Context, path string, number uint64) (*secret, version, json.RawMessage,
	error) {
	for {
		s, err := d.load(ctx, path)
		if s == nil || err != nil {
			return nil, version{}, nil, err
		}
		v, ok := s.find(number)
		if !ok {
			return nil, version{}, nil, nil
		}
		if v.destroyed || v.deleted(d.now()) {
			return s, v, nil, nil
		}
		value, err := d.value(ctx, path, s, v.number)
		if err == nil {
			return s, v, value, nil
		}
		// The two reads are not a snapshot: the version may have been evicted between them, or
		// moved out of the record.
		again, failed := d.load(ctx, path)
		if failed != nil || again != nil && same(s, again) {
			return nil, version{}, nil, err
		}
	}
}

// same reports whether two reads of a secret returned the same state.
func same(a, b *secret) bool {
	return a.id == b.id && a.current == b.current && bytes.Equal(a.versions, b.versions) && bytes.Equal(a.value, b.value)
}

// statusOf returns the status of a response about a version: without a value it is 404, with
// metadata.
func statusOf(value json.RawMessage) int {
	if value == nil {
		return 404
	}
	return 0
}

func appendRaw(b []byte, raw json.RawMessage) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

func appendTime(b []byte, nanos int64) []byte {
	b = append(b, '"')
	if nanos != 0 {
		b = time.Unix(0, nanos).UTC().AppendFormat(b, time.RFC3339Nano)
	}
	return append(b, '"')
}

// appendVersion writes the metadata of a version that is returned with its value.
func appendVersion(b []byte, s *secret, v version) []byte {
	b = appendTime(append(b, `{"created_time":`...), v.created)
	b = appendRaw(append(b, `,"custom_metadata":`...), s.custom)
	b = appendTime(append(b, `,"deletion_time":`...), v.deletion)
	b = strconv.AppendBool(append(b, `,"destroyed":`...), v.destroyed)
	b = strconv.AppendUint(append(b, `,"version":`...), v.number, 10)
	return append(b, '}')
}

// written is the response to a write: the metadata of the new version.
func written(s *secret, warnings []string) *mount.Response {
	v, _ := s.find(0)
	return &mount.Response{Data: json.RawMessage(appendVersion(nil, s, v)), Warnings: warnings}
}

// ignored returns the warning about unknown fields of a request.
func ignored(data map[string]any, known ...string) []string {
	var extra []string
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !slices.Contains(known, name) {
			extra = append(extra, name)
		}
	}
	if extra == nil {
		return nil
	}
	return []string{"Endpoint ignored these unrecognized parameters: [" + strings.Join(extra, " ") + "]"}
}

// body is the decoded body of a data write.
type body struct {
	data     map[string]any
	cas      *int64 // nil: not given
	warnings []string
}

func readBody(r *mount.Request) (b body, err error) {
	f := field.Map(r.Data)
	if b.data, err = f.Object("data"); err != nil {
		return b, err
	}
	if b.data == nil {
		return b, fault.New(fault.Invalid, `no data provided: put the secret's keys and values into the object "data"`)
	}
	options, err := f.Object("options")
	if err != nil {
		return b, err
	}
	b.cas, err = optional(options, "cas", field.Map.Number)
	b.warnings = ignored(r.Data, "data", "options", "version", "path")
	return b, err
}

// check compares a check-and-set number with the current version.
func (b *body) check(s *secret, c settings) error {
	switch {
	case b.cas == nil && (c.casRequired || s.flags&flagCAS != 0):
		return fault.New(fault.Invalid, "check-and-set parameter required for this call: "+
			"set options.cas to the version to replace, or 0 for none")
	case b.cas != nil && (*b.cas < 0 || uint64(*b.cas) != s.current):
		return fault.New(fault.Invalid, "check-and-set parameter did not match the current version")
	}
	return nil
}

func (d *versioned) write(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	b, err := readBody(r)
	if err != nil {
		return nil, err
	}
	value, err := encode(b.data)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the data cannot be written as JSON")
	}
	defer d.lock(path)()
	s, err := d.take(ctx, path, r.Found)
	if isDamaged(err) && b.cas == nil { // overwriting heals; with check-and-set there is nothing to compare
		s, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s == nil {
		if s, err = d.fresh(); err != nil {
			return nil, err
		}
	}
	c, err := d.settings(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.check(s, c); err != nil {
		return nil, err
	}
	if err := d.add(ctx, path, s, value, c); err != nil {
		return nil, err
	}
	return written(s, b.warnings), nil
}

// add makes value the current version and evicts the oldest ones; the caller holds the lock.
func (d *versioned) add(ctx context.Context, path string, s *secret, value json.RawMessage, c settings) error {
	now := d.now().UnixNano()
	var ops []storage.Op
	var gone []uint64
	old := s.value
	s.current++
	s.versions = s.versions.with(version{created: now, deletion: c.deletion(now, s.deleteAfter)})
	keep := c.keep(s.maxVersions)
	for i := range max(0, s.versions.count()-keep) {
		if number := s.oldest() + uint64(i); !s.versions.at(i).destroyed && (number != s.current-1 || old == nil) {
			gone = append(gone, number)
		}
	}
	s.versions = s.versions[max(0, len(s.versions)-keep*versionSize):]
	if old != nil && keep > 1 {
		ops = append(ops, storage.Put(d.valueKey(s.id, s.current-1), marshalValue(old)))
	}
	s.value = value
	if len(value) > inlineMost {
		s.value = nil
		ops = append(ops, storage.Put(d.valueKey(s.id, s.current), marshalValue(value)))
	}
	s.updated = now
	return d.save(ctx, path, s, gone, ops...)
}

// patch merges data into the current version (RFC 7396) and stores the result as a new version.
func (d *versioned) patch(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	b, err := readBody(r)
	if err != nil {
		return nil, err
	}
	defer d.lock(path)()
	s, err := d.take(ctx, path, r.Found)
	if s == nil || err != nil {
		return nothing(), err
	}
	v, ok := s.find(0)
	if !ok {
		return nothing(), nil
	}
	c, err := d.settings(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.check(s, c); err != nil {
		return nil, err
	}
	if v.destroyed || v.deleted(d.now()) {
		gone := append(appendVersion([]byte(`{"data":null,"metadata":`), s, v), '}')
		return &mount.Response{Status: 404, Data: json.RawMessage(gone)}, nil
	}
	old, err := d.value(ctx, path, s, s.current)
	if err != nil {
		return nil, err
	}
	value, err := merge(old, b.data)
	if err != nil {
		return nil, damaged(err, path)
	}
	if err := d.add(ctx, path, s, value, c); err != nil {
		return nil, err
	}
	return written(s, b.warnings), nil
}

func merge(old json.RawMessage, change map[string]any) (json.RawMessage, error) {
	target, err := decode(old)
	if err != nil {
		return nil, err
	}
	return encode(mergeInto(target, change))
}

// mergeInto is the MergePatch of RFC 7396 for two objects.
func mergeInto(target, change map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for name, v := range change {
		switch v := v.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			inner, _ := target[name].(map[string]any)
			target[name] = mergeInto(inner, v)
		default:
			target[name] = v
		}
	}
	return target
}

func decode(raw json.RawMessage) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var m map[string]any
	err := dec.Decode(&m)
	return m, err
}

// subkeys returns a version's keys with null for each value. "depth" limits the levels; 0 means
// all.
func (d *versioned) subkeys(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	number, err := queryNumber(r, "version")
	if err != nil {
		return nil, err
	}
	depth, err := queryNumber(r, "depth")
	if err != nil {
		return nil, err
	}
	s, v, value, err := d.readVersion(ctx, path, number)
	if s == nil || err != nil {
		return nil, err
	}
	b := append([]byte(`{"metadata":`), appendVersion(nil, s, v)...)
	b = append(b, `,"subkeys":`...)
	if value != nil {
		m, err := decode(value)
		if err != nil {
			return nil, damaged(err, path)
		}
		keys, err := encode(shape(m, 1, depth))
		if err != nil {
			return nil, err
		}
		b = append(b, keys...)
	} else {
		b = append(b, "null"...)
	}
	return &mount.Response{Data: json.RawMessage(append(b, '}')), Status: statusOf(value)}, nil
}

func shape(m map[string]any, level, depth uint64) map[string]any {
	out := make(map[string]any, len(m))
	for name, v := range m {
		out[name] = nil
		if inner, ok := v.(map[string]any); ok && len(inner) > 0 && (depth == 0 || level < depth) {
			out[name] = shape(inner, level+1, depth)
		}
	}
	return out
}
