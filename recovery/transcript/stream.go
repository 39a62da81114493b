package transcript

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// meter bounds what is read since the last mark.
type meter struct {
	r    io.Reader
	read int64
}

func (m *meter) mark() { m.read = 0 }

func (m *meter) Read(b []byte) (int, error) {
	if m.read > MaxFile {
		return 0, fmt.Errorf("%w: a record is longer than %d bytes", ErrFile, MaxFile)
	}
	n, err := m.r.Read(b)
	m.read += int64(n)
	return n, err
}

// fileReader reads a file member by member, and passes each record to the checker as it comes.
type fileReader struct {
	input    *meter
	json     *json.Decoder
	expected ed25519.PublicKey // nil: the key in the file counts
	check    *checker
	names    map[string]bool   // of the members read
	waiting  []json.RawMessage // records before the key that verifies them
	size     int               // of waiting
}

func (f *fileReader) read() error {
	t, err := f.json.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	for f.json.More() {
		f.input.mark()
		t, err := f.json.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if f.names[name] || !simple(name) {
			return fmt.Errorf("%w: the key %.40q occurs twice, or is not in lower-case letters", ErrRecord, name)
		}
		f.names[name] = true
		switch name {
		case "public_key":
			err = f.publicKey()
		case "head":
			err = f.head()
		case "co_signatures":
			err = f.coSignatures()
		case "records":
			err = f.records()
		default:
			err = fmt.Errorf("it has the unknown key %.40q", name)
		}
		if err != nil {
			return err
		}
	}
	if _, err := f.json.Token(); err != nil {
		return err
	}
	if _, err := f.json.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected text after the object")
	}
	return f.complete()
}

// complete checks that all members were there.
func (f *fileReader) complete() error {
	if !f.names["records"] {
		return errors.New("it has no list of records")
	}
	if !f.names["public_key"] {
		f.key(nil)
	}
	if f.check.public == nil {
		return errors.New("it names no public key; pass one")
	}
	return nil
}

func (f *fileReader) publicKey() error {
	var raw json.RawMessage
	if err := f.json.Decode(&raw); err != nil {
		return err
	}
	if err := plain(raw); err != nil {
		return err
	}
	var key ed25519.PublicKey
	if err := strictly(raw, &key); err != nil || len(key) != ed25519.PublicKeySize {
		key = nil
	}
	f.key(key)
	return nil
}

// head reads the attested head. It is compared at the end, with the key.
func (f *fileReader) head() error {
	var raw json.RawMessage
	if err := f.json.Decode(&raw); err != nil {
		return err
	}
	if err := plain(raw); err != nil {
		return err
	}
	a := new(Attested)
	if err := a.UnmarshalJSON(raw); err != nil {
		f.check.report.add(0, "head", "is unreadable: %v", err)
		return nil
	}
	f.check.attested = a
	return nil
}

// key takes the key of the file, and checks the records that waited for it.
func (f *fileReader) key(key ed25519.PublicKey) {
	report := f.check.report
	switch {
	case f.expected == nil && key == nil:
		return
	case f.expected == nil:
		report.PublicKey, report.KeyFromFile, f.check.public = key, true, key
	case !bytes.Equal(f.expected, key):
		report.add(0, "public_key", "was altered, or the transcript is another server's: it is not the expected key %s",
			base64.StdEncoding.EncodeToString(f.expected))
	}
	for _, raw := range f.waiting {
		f.check.record(raw)
	}
	f.waiting = nil
}

func (f *fileReader) records() error {
	t, err := f.json.Token()
	if err != nil {
		return err
	}
	if t == nil { // some programs write an empty list as null
		return nil
	}
	if t != json.Delim('[') {
		return errors.New("it has no list of records")
	}
	for f.json.More() {
		f.input.mark()
		var raw json.RawMessage
		if err := f.json.Decode(&raw); err != nil {
			return err
		}
		if err := plain(raw); err != nil {
			return err
		}
		f.check.report.Records++
		if f.check.public != nil {
			f.check.record(raw)
			continue
		}
		if f.size += len(raw); f.size > MaxFile {
			return fmt.Errorf("its public_key follows more than %d bytes of records; pass the key", MaxFile)
		}
		f.waiting = append(f.waiting, raw)
	}
	_, err = f.json.Token()
	return err
}
