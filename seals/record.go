package seals

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/protobuf/proto"
)

// RecordVersion is the newest format version of sealed records that this package reads. It writes
// version 2 wherever the policy has no groups, so that an older program can read the record, and
// reads version 1.
const RecordVersion = 3

// versionFor returns the lowest version, from 2 on, that can express a policy.
func versionFor(p Plan) int {
	if p.Grouped() {
		return 3
	}
	return 2
}

// Bounds of a sealed record, checked before anything is allocated.
const (
	maxSeals  = 16
	maxRecord = 256 << 10
	maxText   = 1024
	maxBlob   = 64 << 10
)

// ErrRecord is returned for bytes that are not a sealed record of a known version.
var ErrRecord = errors.New("seals: not a sealed record")

// Record is the sealed root key: one part for each seal, and the policy that combines the parts. It
// is stored outside the barrier.
//
//	version u8 = 2 or 3
//	generation u64               of the root key
//	cluster    u8-len text
//	threshold  u8                terms of the policy that are needed: 1 = any
//	terms      version 3 alone: u8 count, each:
//	  threshold, size  u8        of the next size parts, threshold are needed
//	share set  u24-len bytes     of the quorum seal, empty without one
//	previous   u24-len bytes     the replaced share set, empty without one (see Previous);
//	           if not empty, one part follows
//	parts      u8 count, each:
//	  name, type      u8-len text
//	  key id          u16-len text     canonical id of the key that wrapped
//	  key version     u16-len text     "" where the provider has no versions
//	  digest          32 bytes         domain-separated SHA-256 of the part
//	  blob            u24-len bytes    wrapping.BlobInfo, protobuf
//	root tag     32 bytes        HMAC-SHA256 over all the above, by a key derived from the root key
//	quorum tag   u8-len bytes    the same by the key of the custodians, empty without one
//	previous tag u8-len bytes    the same by the key of the replaced custodians, empty without one
//
// In version 2 each part is a term. Version 3 has groups: at least two terms, one of which has more
// than one part. Version 1 ends before the tags, and its parts bind neither the policy nor the
// members.
//
// All numbers are big-endian. The digests reveal nothing: a part has 256 bits of entropy.
type Record struct {
	Version    int // 1 to RecordVersion; 0 means 2
	Generation uint64
	Cluster    string
	Threshold  int
	Terms      []Term // of version 3; nil: each part is a term
	ShareSet   []byte
	Previous   *Previous // set from a rekey until the new shares are known to have arrived
	Parts      []Part

	RootTag, QuorumTag, PreviousTag []byte // see Authenticate
}

// Previous is the quorum that was replaced. It can unseal until the new shares are known to have
// reached their holders: if the reply with the new shares were lost together with the server, the
// data could not be opened otherwise.
type Previous struct {
	ShareSet []byte
	Part     Part
}

// Part is what one seal wraps: the root key where any seal suffices, else one Shamir share of it.
type Part struct {
	Name, Type        string
	KeyID, KeyVersion string
	Digest            [sha256.Size]byte
	Blob              *wrapping.BlobInfo
}

// digest identifies a part, so that a probe can check what a seal returned without the root key.
func digest(part []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte("sealgate/seals/part/v1\x00"))
	h.Write(part)
	return [sha256.Size]byte(h.Sum(nil))
}

// holds reports whether plain is the part that was wrapped.
func (p *Part) holds(plain []byte) bool {
	d := digest(plain)
	return subtle.ConstantTimeCompare(d[:], p.Digest[:]) == 1
}

// part finds the part of a seal by name.
func (r *Record) part(name string) *Part {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			return &r.Parts[i]
		}
	}
	return nil
}

// Marshal encodes the record.
func (r *Record) Marshal() ([]byte, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(body)
	if r.Version != 1 {
		if len(r.RootTag) != sha256.Size {
			return nil, errors.New("seals: the sealed record was changed and not authenticated")
		}
		b.AddBytes(r.RootTag)
		addBytes8(b, r.QuorumTag)
		addBytes8(b, r.PreviousTag)
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("seals: encoding the sealed record: %w", err)
	}
	if len(out) > maxRecord {
		return nil, fmt.Errorf("seals: the sealed record has %d bytes; at most %d are allowed", len(out), maxRecord)
	}
	return out, nil
}

// body encodes the record without its tags.
func (r *Record) body() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(uint8(cmp.Or(r.Version, 2)))
	b.AddUint64(r.Generation)
	addText8(&b, r.Cluster)
	b.AddUint8(uint8(r.Threshold))
	if r.Version == 3 {
		b.AddUint8(uint8(len(r.Terms)))
		for _, t := range r.Terms {
			b.AddUint8(uint8(t.Threshold))
			b.AddUint8(uint8(t.Size))
		}
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.ShareSet) })
	previous := r.Previous
	if previous == nil {
		previous = &Previous{}
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(previous.ShareSet) })
	if r.Previous != nil {
		if err := addPart(&b, &previous.Part); err != nil {
			return nil, err
		}
	}
	b.AddUint8(uint8(len(r.Parts)))
	for i := range r.Parts {
		if err := addPart(&b, &r.Parts[i]); err != nil {
			return nil, err
		}
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("seals: encoding the sealed record: %w", err)
	}
	return out, nil
}

func addBytes8(b *cryptobyte.Builder, v []byte) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v) })
}

func addPart(b *cryptobyte.Builder, p *Part) error {
	blob, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.Blob)
	if err != nil {
		return fmt.Errorf("seals: encoding the blob of seal %q: %w", p.Name, err)
	}
	addText8(b, p.Name)
	addText8(b, p.Type)
	addText16(b, p.KeyID)
	addText16(b, p.KeyVersion)
	b.AddBytes(p.Digest[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(blob) })
	return nil
}

func addText8(b *cryptobyte.Builder, s string) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func addText16(b *cryptobyte.Builder, s string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

// UnmarshalRecord decodes a record. It refuses trailing bytes, an unknown version, two seals of one
// name, and a threshold that the parts cannot meet.
func UnmarshalRecord(data []byte) (*Record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrRecord, len(data), maxRecord)
	}
	s := cryptobyte.String(data)
	var version, threshold, count uint8
	if !s.ReadUint8(&version) {
		return nil, fmt.Errorf("%w: empty", ErrRecord)
	}
	if version < 1 || version > RecordVersion {
		return nil, fmt.Errorf("%w: format version %d; this program reads versions 1 to %d",
			ErrRecord, version, RecordVersion)
	}
	r := &Record{Version: int(version)}
	var shareSet cryptobyte.String
	if !s.ReadUint64(&r.Generation) || !readText8(&s, &r.Cluster) || !s.ReadUint8(&threshold) ||
		version == 3 && !r.readTerms(&s) || !s.ReadUint24LengthPrefixed(&shareSet) {
		return nil, fmt.Errorf("%w: truncated", ErrRecord)
	}
	if len(shareSet) > 0 {
		r.ShareSet = append([]byte(nil), shareSet...)
	}
	if err := r.readPrevious(&s); err != nil {
		return nil, err
	}
	if !s.ReadUint8(&count) {
		return nil, fmt.Errorf("%w: truncated", ErrRecord)
	}
	r.Threshold = int(threshold)
	if count == 0 || count > maxSeals || threshold == 0 || threshold > count || !r.termsFit(int(count)) {
		return nil, fmt.Errorf("%w: %d of %d seals, terms %v", ErrRecord, threshold, count, r.Terms)
	}
	for range count {
		p, err := readPart(&s)
		if err != nil {
			return nil, err
		}
		if r.part(p.Name) != nil {
			return nil, fmt.Errorf("%w: two parts of seal %q", ErrRecord, p.Name)
		}
		r.Parts = append(r.Parts, p)
	}
	if version != 1 && !r.readTags(&s) {
		return nil, fmt.Errorf("%w: the tags are truncated or malformed", ErrRecord)
	}
	if !s.Empty() {
		return nil, fmt.Errorf("%w: %d trailing bytes", ErrRecord, len(s))
	}
	return r, nil
}

// readTerms reads the terms of version 3.
func (r *Record) readTerms(s *cryptobyte.String) bool {
	var count uint8
	if !s.ReadUint8(&count) || count > maxSeals {
		return false
	}
	for range count {
		var threshold, size uint8
		if !s.ReadUint8(&threshold) || !s.ReadUint8(&size) {
			return false
		}
		r.Terms = append(r.Terms, Term{int(threshold), int(size)})
	}
	return true
}

// termsFit reports whether the terms are those of a policy with groups over n parts. A policy has
// one encoding: version 3 has groups, and the others have no terms.
func (r *Record) termsFit(n int) bool {
	if r.Version != 3 {
		return true
	}
	grouped := false
	for _, t := range r.Terms {
		if t.Threshold < 1 || t.Threshold > t.Size {
			return false
		}
		grouped = grouped || t.grouped()
		n -= t.Size
	}
	return n == 0 && grouped && len(r.Terms) > 1 && r.Threshold <= len(r.Terms)
}

// Plan returns the policy of the record.
func (r *Record) Plan() Plan {
	p := Plan{Threshold: r.Threshold, Terms: r.Terms}
	for i := range r.Parts {
		p.Members = append(p.Members, r.Parts[i].Name)
	}
	return p
}

func (r *Record) readTags(s *cryptobyte.String) bool {
	r.RootTag = make([]byte, sha256.Size)
	if !s.CopyBytes(r.RootTag) {
		return false
	}
	for _, to := range []*[]byte{&r.QuorumTag, &r.PreviousTag} {
		var v cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&v) || len(v) != 0 && len(v) != sha256.Size {
			return false
		}
		if len(v) > 0 {
			*to = append([]byte(nil), v...)
		}
	}
	return r.Previous != nil || r.PreviousTag == nil
}

func (r *Record) readPrevious(s *cryptobyte.String) error {
	var shareSet cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&shareSet) {
		return fmt.Errorf("%w: truncated", ErrRecord)
	}
	if len(shareSet) == 0 {
		return nil
	}
	part, err := readPart(s)
	if err != nil {
		return err
	}
	r.Previous = &Previous{ShareSet: append([]byte(nil), shareSet...), Part: part}
	return nil
}

func readPart(s *cryptobyte.String) (Part, error) {
	var p Part
	var blob cryptobyte.String
	if !readText8(s, &p.Name) || !readText8(s, &p.Type) || !readText16(s, &p.KeyID) || !readText16(s, &p.KeyVersion) ||
		!s.CopyBytes(p.Digest[:]) || !s.ReadUint24LengthPrefixed(&blob) || len(blob) > maxBlob {
		return Part{}, fmt.Errorf("%w: a part is truncated or too long", ErrRecord)
	}
	p.Blob = &wrapping.BlobInfo{}
	if err := proto.Unmarshal(blob, p.Blob); err != nil {
		return Part{}, fmt.Errorf("%w: the blob of seal %q: %v", ErrRecord, p.Name, err)
	}
	return p, nil
}

func readText8(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&v) {
		return false
	}
	*out = string(v)
	return true
}

func readText16(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) || len(v) > maxText {
		return false
	}
	*out = string(v)
	return true
}

// MarshalPart encodes one part, in the format that it has in a [Record].
func MarshalPart(p *Part) ([]byte, error) {
	var b cryptobyte.Builder
	if err := addPart(&b, p); err != nil {
		return nil, err
	}
	return b.Bytes()
}

// UnmarshalPart decodes a part of [MarshalPart].
func UnmarshalPart(data []byte) (*Part, error) {
	s := cryptobyte.String(data)
	p, err := readPart(&s)
	if err == nil && !s.Empty() {
		err = fmt.Errorf("%w: bytes after the end of a part", ErrRecord)
	}
	if err != nil {
		return nil, err
	}
	return &p, nil
}
