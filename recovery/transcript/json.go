package transcript

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// MarshalJSON renders the record:
//
//	{"version":1, "seq":3, "previous":"<hex>", "record":{"cluster":"...", ...},
//	 "fields":{"cluster":"<hex>", ...}, "hash":"<hex>", "signature":"<base64>"}
//
// Times are RFC 3339 in UTC with nanoseconds, "" for none. fields contains the hashes of record's
// values.
func (s *Signed) MarshalJSON() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"version":%d,"seq":%d,"previous":%q,"record":{`, signedVersion, s.Seq, s.Previous)
	for i, f := range s.Record.fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		raw, err := json.Marshal(rendered(f.value))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", f.name, raw)
	}
	b.WriteString(`},"fields":{`)
	for i, n := range s.Record.hashes() {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%q", n.name, n.hash)
	}
	fmt.Fprintf(&b, `},"hash":%q,"signature":%q}`, s.Hash(), base64.StdEncoding.EncodeToString(s.Signature))
	return b.Bytes(), nil
}

// UnmarshalJSON decodes the result of MarshalJSON and checks every hash, but not the signature: see
// [Signed.Verify].
func (s *Signed) UnmarshalJSON(raw []byte) error {
	p, err := parse(raw)
	if err != nil {
		return err
	}
	problems := p.problems
	for i, n := range p.record.hashes() {
		if n != p.listed[i] {
			problems = append(problems, Problem{Field: n.name, Text: "does not match its hash"})
		}
	}
	if listHash(p.seq, p.previous, p.listed) != p.hash {
		problems = append(problems, Problem{Field: "hash", Text: "does not match the record"})
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrRecord, problems[0])
	}
	*s = Signed{Seq: p.seq, Previous: p.previous, Record: p.record, Signature: p.signature}
	return s.check()
}

// jsonShare is a [Share] in JSON.
type jsonShare struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	At     string `json:"at"`
}

// rendered returns a field's value for JSON.
func rendered(value any) any {
	switch v := value.(type) {
	case *time.Time:
		return clock(*v)
	case *[]string:
		return append([]string{}, *v...)
	case *[]Share:
		out := make([]jsonShare, len(*v))
		for i, s := range *v {
			out[i] = jsonShare{s.Number, s.Name, clock(s.At)}
		}
		return out
	}
	return value
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// read sets a field from JSON. It checks the bounds, so that the value can be encoded.
func (f field) read(raw json.RawMessage) error {
	var err error
	switch v := f.value.(type) {
	case *time.Time:
		var text string
		if err = strictly(raw, &text); err == nil {
			err = readClock(text, v)
		}
	case *[]Share:
		var list []jsonShare
		if err = strictly(raw, &list); err == nil {
			err = readShares(list, v)
		}
	case *[]string:
		if err = strictly(raw, v); len(*v) == 0 {
			*v = nil
		}
	default:
		err = strictly(raw, v)
	}
	if err == nil && (checkValue(f.name, f.value) != "" || !f.rendersTo(raw)) {
		err = ErrRecord
	}
	return err
}

// rendersTo reports whether raw equals the field's own rendering, apart from the escapes of texts.
// It does not if null replaces an empty text or a time has another form.
func (f field) rendersTo(raw json.RawMessage) bool {
	own, err := json.Marshal(rendered(f.value))
	if err != nil {
		return false
	}
	var a, b any
	return strictly(raw, &a) == nil && strictly(own, &b) == nil && reflect.DeepEqual(a, b)
}

func strictly(raw json.RawMessage, v any) error {
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return ErrRecord
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	return d.Decode(v)
}

func readClock(text string, t *time.Time) (err error) {
	if text == "" {
		*t = time.Time{}
		return nil
	}
	if *t, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return err
	}
	*t = t.UTC()
	return nil
}

func readShares(list []jsonShare, out *[]Share) error {
	for _, j := range list {
		s := Share{Number: j.Number, Name: j.Name}
		if err := readClock(j.At, &s.At); err != nil {
			return err
		}
		*out = append(*out, s)
	}
	return nil
}

// parsed is one record of a file, valid or not. An unreadable value is zero and is recorded as a
// problem.
type parsed struct {
	seq       uint64
	previous  Hash
	record    Record
	unread    map[string]string // fields whose value is missing or unreadable, and why
	listed    []named
	hash      Hash
	signature []byte
	problems  []Problem // not of values: unknown or unreadable entries
}

// MaxRecord is the length of the longest JSON of one record.
const MaxRecord = 512 << 10

// parse reads one record. It fails only if there is no JSON object. Anything else is a problem of
// the record.
func parse(raw []byte) (*parsed, error) {
	if len(raw) > MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrRecord, len(raw), MaxRecord)
	}
	if err := plain(raw); err != nil {
		return nil, err
	}
	var top, values, hashes map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil || top == nil {
		return nil, fmt.Errorf("%w: it is not a JSON object", ErrRecord)
	}
	p := &parsed{unread: map[string]string{}}
	take := func(name string, v any) {
		if err := strictly(top[name], v); err != nil {
			p.problem(name, "is missing or unreadable")
		}
		delete(top, name)
	}
	var version int
	take("version", &version)
	take("seq", &p.seq)
	take("previous", &p.previous)
	take("record", &values)
	take("fields", &hashes)
	take("hash", &p.hash)
	take("signature", &p.signature)
	if version != signedVersion {
		p.problem("version", fmt.Sprintf("is not %d, the only version that this program reads", signedVersion))
	}
	for name := range top {
		p.problem(name, "was added: records have no such field")
	}
	p.take(values, hashes)
	return p, nil
}

func (p *parsed) problem(field, text string) {
	p.problems = append(p.problems, Problem{Field: field, Text: text})
}

// take reads the values and the list of their hashes.
func (p *parsed) take(values, hashes map[string]json.RawMessage) {
	for _, f := range p.record.fields() {
		var n = named{name: f.name}
		if err := strictly(hashes[f.name], &n.hash); err != nil {
			n.hash = Hash{}
		}
		p.listed = append(p.listed, n)
		raw, there := values[f.name]
		if !there {
			p.unread[f.name] = "was removed"
		} else if err := f.read(raw); err != nil {
			p.unread[f.name] = "was altered: it is unreadable"
		}
		delete(values, f.name)
		delete(hashes, f.name)
	}
	for name := range values {
		p.problem(name, "was added: records have no such field")
	}
	for name := range hashes {
		p.problem(name, "was added to the list of hashes: records have no such field")
	}
}

// plain refuses JSON that two programs could read differently: a key that occurs twice in an
// object, or differs from another key in case only (encoding/json would treat them as equal). Known
// keys are lower case, so others are refused.
func plain(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var open []map[string]bool // keys of the enclosing objects, nil for arrays
	key := false               // the next token is a key
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: it is not JSON: %w", ErrRecord, err)
		}
		if name, isText := t.(string); isText && key {
			if seen := open[len(open)-1]; seen[name] || !simple(name) {
				return fmt.Errorf("%w: the key %.40q occurs twice, or is not in lower-case letters", ErrRecord, name)
			}
			open[len(open)-1][name], key = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		key = len(open) > 0 && open[len(open)-1] != nil
	}
}

func simple(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return name != ""
}

// File is a whole chain, for export.
type File struct {
	PublicKey    ed25519.PublicKey `json:"public_key"`     // base64
	Head         *Attested         `json:"head,omitempty"` // when the file was made
	Records      []*Signed         `json:"records"`
	CoSignatures []CoSignature     `json:"co_signatures,omitempty"`
}
