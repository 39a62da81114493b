package kv

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

func (d *versioned) readMetadata(ctx context.Context, path string, _ *mount.Request) (*mount.Response, error) {
	s, err := d.load(ctx, path)
	if s == nil || err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512+len(s.custom)+128*s.versions.count())
	return &mount.Response{Data: json.RawMessage(appendMetadata(b, s, true))}, nil
}

// appendMetadata writes the metadata of a secret, in sorted order. Like Vault, oldest is 0 until a
// version is evicted.
func appendMetadata(b []byte, s *secret, all bool) []byte {
	oldest := s.oldest()
	if oldest == 1 {
		oldest = 0
	}
	b = strconv.AppendBool(append(b, `{"cas_required":`...), s.flags&flagCAS != 0)
	b = appendTime(append(b, `,"created_time":`...), s.created)
	b = strconv.AppendUint(append(b, `,"current_metadata_version":`...), s.metaVersion, 10)
	b = strconv.AppendUint(append(b, `,"current_version":`...), s.current, 10)
	b = appendRaw(append(b, `,"custom_metadata":`...), s.custom)
	b = strconv.AppendQuote(append(b, `,"delete_version_after":`...), time.Duration(s.deleteAfter).String())
	b = strconv.AppendUint(append(b, `,"max_versions":`...), uint64(s.maxVersions), 10)
	b = strconv.AppendBool(append(b, `,"metadata_cas_required":`...), s.flags&flagMetaCAS != 0)
	b = strconv.AppendUint(append(b, `,"oldest_version":`...), oldest, 10)
	b = appendTime(append(b, `,"updated_time":`...), s.updated)
	if all {
		b = appendVersions(append(b, `,"versions":`...), s)
	}
	return append(b, '}')
}

func appendVersions(b []byte, s *secret) []byte {
	b = append(b, '{')
	for i := range s.versions.count() {
		if i > 0 {
			b = append(b, ',')
		}
		v := s.versions.at(i)
		b = append(strconv.AppendUint(append(b, '"'), s.oldest()+uint64(i), 10), '"')
		b = appendTime(append(b, `:{"created_time":`...), v.created)
		b = appendTime(append(b, `,"deletion_time":`...), v.deletion)
		b = append(strconv.AppendBool(append(b, `,"destroyed":`...), v.destroyed), '}')
	}
	return append(b, '}')
}

// change is the decoded body of a metadata write.
type change struct {
	given
	custom      field.Map // nil: not given
	cas         *int64    // nil: not given
	customGiven bool
}

func readChange(r *mount.Request) (c change, err error) {
	if c.given, err = readGiven(r); err != nil {
		return c, err
	}
	if c.after != nil && *c.after < 0 {
		return c, fault.New(fault.Invalid, "delete_version_after must not be negative: 0 clears it")
	}
	f := field.Map(r.Data)
	if c.cas, err = optional(f, "metadata_cas", field.Map.Number); err != nil {
		return c, err
	}
	_, c.customGiven = r.Data["custom_metadata"]
	c.custom, err = f.Object("custom_metadata")
	return c, err
}

// check compares a metadata check-and-set number with the current one.
func (c *change) check(s *secret, of settings) error {
	switch {
	case c.cas == nil && (of.metaCASRequired || s.flags&flagMetaCAS != 0):
		return fault.New(fault.Invalid, "check-and-set parameter required for this call: "+
			"set metadata_cas to the current_metadata_version, or 0 for none")
	case c.cas != nil && (*c.cas < 0 || uint64(*c.cas) != s.metaVersion):
		return fault.New(fault.Invalid, "metadata check-and-set parameter did not match the current version")
	}
	return nil
}

// warnings lists the settings of the secret that the mount overrides.
func (c *change) warnings(of settings) (texts []string) {
	for _, one := range []struct {
		name     string
		want     *bool
		required bool
	}{{"cas_required", c.given.cas, of.casRequired}, {"metadata_cas_required", c.metaCAS, of.metaCASRequired}} {
		if one.want != nil && !*one.want && one.required {
			texts = append(texts, strconv.Quote(one.name)+" set to false, but is mandated by backend config. This value will "+
				"be ignored.")
		}
	}
	return texts
}

func (c *change) apply(s *secret) {
	cas, metaCAS := s.flags&flagCAS != 0, s.flags&flagMetaCAS != 0
	c.flags(&cas, &metaCAS)
	s.flags = flagsOf(cas, metaCAS)
	if c.most != nil {
		s.maxVersions = uint32(*c.most)
	}
	if c.after != nil {
		s.deleteAfter = int64(*c.after)
	}
}

func (d *versioned) writeMetadata(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	c, err := readChange(r)
	if err != nil {
		return nil, err
	}
	return d.changeMetadata(ctx, path, r, &c, true)
}

func (d *versioned) patchMetadata(ctx context.Context, path string, r *mount.Request) (*mount.Response, error) {
	c, err := readChange(r)
	if err != nil {
		return nil, err
	}
	// A patch that sets a field to null resets it to its default.
	for name, reset := range map[string]func(){
		"cas_required":          func() { c.given.cas = new(bool) },
		"metadata_cas_required": func() { c.metaCAS = new(bool) },
		"max_versions":          func() { c.most = new(int64) },
		"delete_version_after":  func() { c.after = new(time.Duration) },
	} {
		if v, ok := r.Data[name]; ok && v == nil {
			reset()
		}
	}
	return d.changeMetadata(ctx, path, r, &c, false)
}

// changeMetadata writes metadata. With whole it creates a missing secret, and replaces the custom
// metadata instead of merging it.
func (d *versioned) changeMetadata(ctx context.Context, path string, r *mount.Request, c *change,
	whole bool) (*mount.Response, error) {
	defer d.lock(path)()
	s, err := d.take(ctx, path, r.Found)
	if err != nil {
		return nil, err
	}
	switch {
	case s == nil && !whole:
		return nothing(), nil
	case s != nil && c.none() && !c.customGiven:
		return nil, nil
	case s == nil:
		if s, err = d.fresh(); err != nil {
			return nil, err
		}
	}
	of, err := d.settings(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.check(s, of); err != nil {
		return nil, err
	}
	c.apply(s)
	if c.customGiven {
		if s.custom, err = newCustom(s.custom, c.custom, whole); err != nil {
			return nil, err
		}
	}
	s.metaVersion++
	s.updated = d.now().UnixNano()
	if err := d.save(ctx, path, s, nil); err != nil {
		return nil, err
	}
	if w := c.warnings(of); w != nil {
		return &mount.Response{Warnings: w}, nil
	}
	return nil, nil
}

// Limits of custom metadata.
const (
	maxCustom      = 64
	maxCustomKey   = 128
	maxCustomValue = 512
)

// newCustom returns the custom metadata after a change, in which null removes one entry, or all.
func newCustom(old json.RawMessage, change field.Map, whole bool) (json.RawMessage, error) {
	var next map[string]any
	if !whole && old != nil && change != nil {
		var err error
		if next, err = decode(old); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the custom metadata of the secret is damaged: overwrite it")
		}
	}
	next = mergeInto(next, change)
	if len(next) > maxCustom {
		return nil, fault.New(fault.Invalid, "custom_metadata has %d entries; at most %d are allowed", len(next), maxCustom)
	}
	for key, v := range next {
		text, ok := v.(string)
		if n, isNumber := v.(json.Number); isNumber {
			text, ok = n.String(), true
		}
		switch {
		case !ok:
			return nil, fault.New(fault.Invalid, "the value of %.128q in custom_metadata must be a string", key)
		case len(key) == 0 || len(key) > maxCustomKey || !printable(key):
			return nil, fault.New(fault.Invalid, "a key of custom_metadata has %d bytes or characters that do not print; use "+
				"1 to %d printable bytes",
				len(key), maxCustomKey)
		case len(text) == 0 || len(text) > maxCustomValue || !printable(text):
			return nil, fault.New(fault.Invalid,
				"the value of %q in custom_metadata has %d bytes or characters that do not print; use 1 to %d printable bytes",
				key, len(text), maxCustomValue)
		}
		next[key] = text
	}
	if len(next) == 0 {
		return nil, nil
	}
	return encode(next)
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// deleteMetadata removes a secret with all its versions. It also removes a damaged record.
func (d *versioned) deleteMetadata(ctx context.Context, path string, _ *mount.Request) (*mount.Response, error) {
	defer d.lock(path)()
	ops := []storage.Op{storage.Delete(secretsPrefix + path), storage.Delete(entries + path)}
	s, err := d.load(ctx, path)
	switch {
	case errors.Is(err, errRecord), errors.Is(err, storage.ErrCorrupt):
		return nil, d.commit(ctx, path, id{}, nil, ops)
	case err != nil:
		return nil, err
	case s == nil:
		return nil, nil
	}
	var gone []uint64
	for i := range s.versions.count() {
		if number := s.oldest() + uint64(i); !s.versions.at(i).destroyed && (number != s.current || s.value == nil) {
			gone = append(gone, number)
		}
	}
	return nil, d.commit(ctx, path, s.id, gone, ops)
}
