package transcript

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

const (
	signedVersion = 1
	headVersion   = 1
	maxSigned     = 256 << 10
)

// Head is the end of a chain. The zero value is the empty chain. A noted Head later proves that no
// record up to it was removed or rewritten.
type Head struct {
	Seq  uint64
	Hash Hash
}

// String returns the number and the hash, as "7:9f86d0...", for [ParseHead].
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// ParseHead parses the result of [Head.String].
func ParseHead(text string) (Head, error) {
	var h Head
	seq, sum, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || h.Hash.UnmarshalText([]byte(sum)) != nil {
		return Head{}, fmt.Errorf("%w: a head is the last record's number, a colon and its hash in hexadecimal",
			ErrRecord)
	}
	h.Seq = n
	return h, nil
}

// Marshal returns the head's record: version u8 = 1 | seq u64 | hash 32.
func (h Head) Marshal() []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(headVersion)
	b.AddUint64(h.Seq)
	b.AddBytes(h.Hash[:])
	return b.BytesOrPanic()
}

// UnmarshalHead decodes a record of [Head.Marshal].
func UnmarshalHead(record []byte) (Head, error) {
	var h Head
	var version uint8
	s := cryptobyte.String(record)
	if !s.ReadUint8(&version) || version != headVersion || !s.ReadUint64(&h.Seq) || !s.CopyBytes(h.Hash[:]) ||
		!s.Empty() {
		return Head{}, fmt.Errorf("%w: it is not a head of version %d", ErrRecord, headVersion)
	}
	return h, nil
}

// Signed is one record in its chain.
type Signed struct {
	Seq       uint64 // 1 for the first
	Previous  Hash   // of the record before; zero for the first
	Record    Record
	Signature []byte // Ed25519, over "sealgate/transcript/signature/v1" 00 | Hash
}

// Append signs the record that follows prev. It returns the new head, which the caller stores in
// the same commit as the record. Two records that follow one head are a fork, which verification
// reports. The error is [ErrRecord].
func Append(key ed25519.PrivateKey, prev Head, r Record) (*Signed, Head, error) {
	if err := r.check(); err != nil {
		return nil, prev, err
	}
	s := &Signed{Seq: prev.Seq + 1, Previous: prev.Hash, Record: r}
	h := s.Hash()
	s.Signature = ed25519.Sign(key, signedBytes(h))
	return s, Head{Seq: s.Seq, Hash: h}, nil
}

// Hash returns the hash that the next record contains as its predecessor's:
//
//	SHA-256( "sealgate/transcript/record/v1" 00 | seq u64 | previous 32
//	         | count u8, count times: { length u8, name | field's hash 32 } )
func (s *Signed) Hash() Hash { return listHash(s.Seq, s.Previous, s.Record.hashes()) }

// Verify reports whether the key signed this record at this position.
func (s *Signed) Verify(public ed25519.PublicKey) bool { return verify(public, s.Hash(), s.Signature) }

// Head returns the head of a chain that ends with this record.
func (s *Signed) Head() Head { return Head{Seq: s.Seq, Hash: s.Hash()} }

func signedBytes(h Hash) []byte { return append([]byte(signatureDomain), h[:]...) }

func verify(public ed25519.PublicKey, h Hash, signature []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, signedBytes(h), signature)
}

// named is one entry of the list of hashes.
type named struct {
	name string
	hash Hash
}

func (r *Record) hashes() []named {
	fields := r.fields()
	out := make([]named, len(fields))
	for i, f := range fields {
		out[i] = named{f.name, f.hash()}
	}
	return out
}

func listHash(seq uint64, previous Hash, list []named) Hash {
	b := cryptobyte.NewBuilder([]byte(recordDomain))
	b.AddUint64(seq)
	b.AddBytes(previous[:])
	b.AddUint8(uint8(len(list)))
	for _, n := range list {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.name)) })
		b.AddBytes(n.hash[:])
	}
	return sha256.Sum256(b.BytesOrPanic())
}

// Marshal returns the stored record, version 1. Values have the same encoding as in their hashes:
//
//	version u8 = 1 | seq u64 | previous 32 | the fields' values in their order | signature 64
//
// It panics for a record that [Append] refuses.
func (s *Signed) Marshal() []byte {
	if err := s.check(); err != nil {
		panic("transcript: " + err.Error())
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddUint8(signedVersion)
	b.AddUint64(s.Seq)
	b.AddBytes(s.Previous[:])
	for _, f := range s.Record.fields() {
		f.encode(b)
	}
	b.AddBytes(s.Signature)
	return b.BytesOrPanic()
}

// Unmarshal decodes a record of [Signed.Marshal]. It does not check the signature: see
// [Signed.Verify].
func Unmarshal(record []byte) (*Signed, error) {
	if len(record) > maxSigned {
		return nil, fmt.Errorf("%w: it has %d bytes, more than the limit of %d", ErrRecord, len(record), maxSigned)
	}
	in, version, s := cryptobyte.String(record), uint8(0), new(Signed)
	if !in.ReadUint8(&version) || version != signedVersion {
		return nil, fmt.Errorf("%w: it is empty, or its version is not %d", ErrRecord, signedVersion)
	}
	ok := in.ReadUint64(&s.Seq) && in.CopyBytes(s.Previous[:])
	for _, f := range s.Record.fields() {
		ok = ok && f.decode(&in)
	}
	if !ok || !in.ReadBytes(&s.Signature, ed25519.SignatureSize) || !in.Empty() {
		return nil, fmt.Errorf("%w: it is truncated or malformed", ErrRecord)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Signed) check() error {
	if s.Seq == 0 || len(s.Signature) != ed25519.SignatureSize {
		return fmt.Errorf("%w: it has no number or no signature", ErrRecord)
	}
	return s.Record.check()
}
