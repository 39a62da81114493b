package transcript

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// field is one value of a record, with its name in the list of hashes and in JSON. value points to
// a string, bool, int, uint64, time.Time, []string or []Share.
type field struct {
	name  string
	value any
}

// fields lists all values in the order of their encoding. This list is version 1 of the format and
// never changes.
func (r *Record) fields() []field {
	return []field{
		{"cluster", &r.Cluster}, {"purpose", &r.Purpose}, {"nonce", &r.Nonce},
		{"started", &r.Started}, {"started_by", &r.StartedBy}, {"started_accessor", &r.StartedAccessor},
		{"required", &r.Required}, {"shares", &r.Shares}, {"threshold", &r.Threshold},
		{"verification", &r.Verification}, {"backup", &r.Backup},
		{"fingerprints", &r.Fingerprints}, {"holders", &r.Holders},
		{"given", &r.Given}, {"proven", &r.Proven},
		{"outcome", (*string)(&r.Outcome)}, {"reason", &r.Reason}, {"finished", &r.Finished},
		{"ended_by", &r.EndedBy}, {"ended_accessor", &r.EndedAccessor},
		{"generation_before", &r.GenerationBefore}, {"generation_after", &r.GenerationAfter},
	}
}

// Hash is a SHA-256. It prints as lower-case hexadecimal.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText parses exactly 64 lower-case hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	var read Hash
	if len(text) != hex.EncodedLen(len(read)) {
		return ErrRecord
	}
	if _, err := hex.Decode(read[:], text); err != nil || read.String() != string(text) {
		return ErrRecord
	}
	*h = read
	return nil
}

const (
	fieldDomain     = "sealgate/transcript/field/v1\x00"
	recordDomain    = "sealgate/transcript/record/v1\x00"
	signatureDomain = "sealgate/transcript/signature/v1\x00"
)

// hash returns SHA-256( "sealgate/transcript/field/v1" 00 | length u8, name | value ).
func (f field) hash() Hash {
	b := cryptobyte.NewBuilder([]byte(fieldDomain))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(f.name)) })
	f.encode(b)
	return sha256.Sum256(b.BytesOrPanic())
}

// encode writes a value, numbers big-endian:
//
//	text: length u16, bytes | number: u64 | bool: u8 | time: i64, nanoseconds since 1970, 0 for none
//	list of texts: count u8, count times text
//	list of shares: count u8, count times { number u8 | name: text | at: time }
func (f field) encode(b *cryptobyte.Builder) {
	switch v := f.value.(type) {
	case *string:
		addText(b, *v)
	case *int:
		b.AddUint64(uint64(*v))
	case *uint64:
		b.AddUint64(*v)
	case *bool:
		var bit uint8
		if *v {
			bit = 1
		}
		b.AddUint8(bit)
	case *time.Time:
		addTime(b, *v)
	case *[]string:
		b.AddUint8(uint8(len(*v)))
		for _, s := range *v {
			addText(b, s)
		}
	case *[]Share:
		b.AddUint8(uint8(len(*v)))
		for _, s := range *v {
			b.AddUint8(uint8(s.Number))
			addText(b, s.Name)
			addTime(b, s.At)
		}
	}
}

// decode is the inverse of encode. The record checks the bounds.
func (f field) decode(s *cryptobyte.String) bool {
	var n uint64
	var small uint8
	switch v := f.value.(type) {
	case *string:
		return readText(s, v)
	case *int:
		ok := s.ReadUint64(&n) && n <= 1<<31
		*v = int(n)
		return ok
	case *uint64:
		return s.ReadUint64(v)
	case *bool:
		ok := s.ReadUint8(&small) && small <= 1
		*v = small == 1
		return ok
	case *time.Time:
		return readTime(s, v)
	case *[]string:
		return s.ReadUint8(&small) && readList(int(small), v, func(out *string) bool { return readText(s, out) })
	case *[]Share:
		return s.ReadUint8(&small) && readList(int(small), v, func(out *Share) bool {
			ok := s.ReadUint8(&small) && readText(s, &out.Name) && readTime(s, &out.At)
			out.Number = int(small)
			return ok
		})
	}
	return false
}

func readList[T any](count int, out *[]T, read func(*T) bool) bool {
	for range count {
		var v T
		if !read(&v) {
			return false
		}
		*out = append(*out, v)
	}
	return true
}

func addText(b *cryptobyte.Builder, text string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}

func readText(s *cryptobyte.String, out *string) bool {
	var text cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&text) {
		return false
	}
	*out = string(text)
	return true
}

func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.IsZero() {
		b.AddUint64(0)
		return
	}
	b.AddUint64(uint64(t.UnixNano()))
}

func readTime(s *cryptobyte.String, t *time.Time) bool {
	var n uint64
	if !s.ReadUint64(&n) || int64(n) < 0 {
		return false
	}
	*t = time.Time{}
	if n != 0 {
		*t = time.Unix(0, int64(n)).UTC()
	}
	return true
}
