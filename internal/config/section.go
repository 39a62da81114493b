package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/spelling"

	"github.com/sealgate/sealgate/internal/secret"
)

// A section reads the known keys of one body and collects all errors. [section.finish] checks the
// remaining keys.
type section struct {
	where string // for messages: "listener", "seal pkcs11"; "" at the top level
	body  *body
	known []string // all keys that were read, present or not
	seen  map[string]Pos
	d     *decoder
}

func (d *decoder) section(where string, b *body) *section {
	s := &section{where: where, body: b, seen: map[string]Pos{}, d: d}
	for _, f := range b.fields {
		if f.val.kind == isObject || f.val.kind == isList {
			continue // blocks repeat
		}
		if first, twice := s.seen[f.name]; twice {
			d.fail(f.pos, "%s is already set at %s: remove one of them", s.label(f.name), first)
		}
		s.seen[f.name] = f.pos
	}
	return s
}

func (s *section) label(key string) string {
	if s.where == "" {
		return short(key)
	}
	return s.where + ": " + short(key)
}

// short is a key as messages show it.
func short(key string) string { return strconv.Quote(clip(key)) }

func clip(key string) string {
	if len(key) > 60 {
		key = key[:60] + "..."
	}
	return key
}

// take finds a scalar. A null counts as absent.
func (s *section) take(key string) (field, bool) {
	s.known = append(s.known, key)
	for _, f := range s.body.fields {
		if f.name != key || f.val.kind == isNull {
			continue
		}
		if len(f.labels) > 0 || f.val.kind == isObject {
			s.d.fail(f.pos, "%s takes a value, not a block", s.label(key))
			return field{}, false
		}
		return f, true
	}
	return field{}, false
}

// blocks finds all stanzas of a name.
func (s *section) blocks(key string, least, most int) []block {
	s.known = append(s.known, key)
	var all []block
	for _, f := range s.body.fields {
		if f.name != key {
			continue
		}
		bs, err := f.blocks(least, most)
		if err != nil {
			s.d.errs = append(s.d.errs, err)
		}
		all = append(all, bs...)
	}
	return all
}

func (s *section) str(key string, to *string) {
	f, ok := s.take(key)
	if !ok {
		return
	}
	if f.val.kind == isList {
		s.d.fail(f.pos, "%s takes one value, not a list", s.label(key))
		return
	}
	*to = f.val.text
}

// file takes the name of a file. It refuses a value that can be no file name, without showing it:
// it may be the secret that belongs into the file.
func (s *section) file(key string, to *string) {
	s.str(key, to)
	if err := secret.CheckPath(s.label(key), *to); err != nil {
		s.d.fail(s.posOf(key), "%v", err)
	}
}

func (s *section) flag(key string, to *bool) {
	f, ok := s.take(key)
	if !ok {
		return
	}
	v, err := strconv.ParseBool(f.val.text)
	if err != nil {
		s.d.fail(f.pos, "%s must be true or false (or 1 or 0)", s.label(key))
		return
	}
	*to = v
}

func (s *section) integer(key string, least, most int64, to *int64) {
	f, ok := s.take(key)
	if !ok {
		return
	}
	v, err := strconv.ParseInt(f.val.text, 0, 64)
	if err != nil || v < least || v > most {
		s.d.fail(f.pos, "%s must be a whole number from %d to %d", s.label(key), least, most)
		return
	}
	*to = v
}

func (s *section) duration(key string, to *time.Duration) {
	f, ok := s.take(key)
	if !ok {
		return
	}
	v, err := parseDuration(f.val.text)
	if err != nil || f.val.kind == isBool || f.val.kind == isList {
		s.d.fail(f.pos, `%s must be a duration: whole seconds, or "90s", "768h", "32d"`, s.label(key))
		return
	}
	*to = v
}

// parseDuration accepts whole seconds, Go's durations, and days ("1d12h").
func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(time.Second) {
			return 0, strconv.ErrRange
		}
		return time.Duration(n) * time.Second, nil
	}
	var days time.Duration
	if d, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(d, 10, 16)
		if err != nil {
			return 0, err
		}
		days, text = time.Duration(n)*24*time.Hour, rest
		if text == "" {
			return days, nil
		}
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if v < 0 || v > math.MaxInt64-days {
		return 0, strconv.ErrRange
	}
	return days + v, nil
}

// choice reads one of a fixed set of words, ignoring case.
func (s *section) choice(key string, words []string, to *string) {
	f, ok := s.take(key)
	if !ok {
		return
	}
	v := strings.ToLower(f.val.text)
	if !slices.Contains(words, v) {
		s.d.fail(f.pos, "%s must be one of %s", s.label(key), strings.Join(words, ", "))
		return
	}
	*to = v
}

// words reads a list of strings, or one string with commas.
func (s *section) words(key string) []string {
	f, ok := s.take(key)
	if !ok {
		return nil
	}
	if f.val.kind != isList {
		return strings.FieldsFunc(f.val.text, func(r rune) bool { return r == ',' || r == ' ' })
	}
	var all []string
	for _, e := range f.val.list {
		if e.kind == isList || e.kind == isObject {
			s.d.fail(f.pos, "%s must be a list of strings", s.label(key))
			return nil
		}
		all = append(all, e.text)
	}
	return all
}

// finish checks the keys that were not read against the tables of known.go.
func (s *section) finish(tables ...map[string]foreign) {
	noted := map[string]bool{} // one note for each key, however often its block occurs
	for _, f := range s.body.fields {
		if slices.Contains(s.known, f.name) {
			continue
		}
		other, ok := lookup(tables, f.name)
		switch {
		case !ok:
			s.d.fail(f.pos, "%s is not a known key%s", s.label(f.name), s.nearest(f.name, tables))
		case other.refuse && !other.isDefault(f.val):
			s.d.fail(f.pos, "%s is not supported: %s", s.label(f.name), other.text)
		case !noted[f.name]:
			noted[f.name] = true
			warn := other.warn && !other.isDefault(f.val)
			s.d.note(f.pos, strings.Trim(s.where+"."+f.name, "."), warn, other.text)
		}
	}
}

// nearest proposes the known key with the least edit distance, if it is small.
func (s *section) nearest(key string, tables []map[string]foreign) string {
	if len(key) > 64 {
		return ""
	}
	known := slices.Clone(s.known)
	for _, t := range tables {
		known = slices.AppendSeq(known, maps.Keys(t))
	}
	best := spelling.Nearest(key, known, min(max(2, len(key)/4), len(key)-1)) // two swapped letters differ by 2
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
