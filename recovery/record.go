package recovery

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
)

// Bounds of records. Decoding enforces them, so that a damaged or forged record costs neither
// memory nor time.
const (
	MaxName      = 64   // a holder's name, in bytes
	maxPublicKey = 4096 // MLKEM768-X25519 has 1216
	maxRecord    = 1 << 20
)

// Versions of a share set's record.
const (
	shareSetVersion        = 1
	shareSetVersionPrivate = 3 // with secret keys, for storage behind the barrier only; 2 was never used
)

// Marshal returns the share set's record, numbers big-endian. Version 1 has no secret; a share set
// with a RecordKey has version 3, which may be stored behind the barrier only:
//
//	version u8 = 1 or 3 | target u8 | id 16 | generation u64 | created i64 | shares u8 | threshold u8
//	| length u16, public key | key verifier 32
//	| shares times: { share verifier 32 | proven i64 | length u8, name }
//	| previous u8 = 0 or 1, and if 1: { id 16 | generation u64 | replaced i64
//	                                    | count u8 | count times: share verifier 32 }
//	| version 3: length u8, record key | length u8, record key of the replaced share set
//
// Times are nanoseconds since 1970, 0 for none. It panics for a share set beyond the bounds of
// [UnmarshalShareSet], which neither this package nor a record can make.
func (c *ShareSet) Marshal() []byte {
	if err := c.check(); err != nil {
		panic("recovery: " + err.Error())
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1536+len(c.Holders)*(41+MaxName)))
	private := c.RecordKey.Len() > 0
	if private {
		b.AddUint8(shareSetVersionPrivate)
	} else {
		b.AddUint8(shareSetVersion)
	}
	b.AddUint8(uint8(c.Target))
	b.AddBytes(c.ID[:])
	b.AddUint64(c.Generation)
	addTime(b, c.Created)
	b.AddUint8(uint8(c.Shares))
	b.AddUint8(uint8(c.Threshold))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.PublicKey) })
	b.AddBytes(c.Key[:])
	for _, h := range c.Holders {
		b.AddBytes(h.Verifier[:])
		addTime(b, h.Proven)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.Name)) })
	}
	c.Previous.marshal(b)
	if private {
		addKey(b, c.RecordKey)
		addKey(b, c.PreviousKey)
	}
	return b.BytesOrPanic()
}

func addKey(b *cryptobyte.Builder, key *Secret) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.Expose()) })
}

// readKeys reads the secret keys of a version 3 record.
func (c *ShareSet) readKeys(s *cryptobyte.String) bool {
	for _, to := range []**Secret{&c.RecordKey, &c.PreviousKey} {
		var key cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&key) || len(key) != 0 && len(key) != SeedLen {
			return false
		}
		if len(key) > 0 {
			*to = secret.Copy(key)
		}
	}
	return c.RecordKey != nil
}

func (f *Previous) marshal(b *cryptobyte.Builder) {
	if f == nil {
		b.AddUint8(0)
		return
	}
	b.AddUint8(1)
	b.AddBytes(f.ID[:])
	b.AddUint64(f.Generation)
	addTime(b, f.Replaced)
	b.AddUint8(uint8(len(f.Shares)))
	for _, v := range f.Shares {
		b.AddBytes(v[:])
	}
}

// UnmarshalShareSet decodes a record of [ShareSet.Marshal]. Errors wrap [ErrRecord].
func UnmarshalShareSet(record []byte) (*ShareSet, error) {
	version := uint8(shareSetVersion)
	if len(record) > 0 && record[0] == shareSetVersionPrivate {
		version = shareSetVersionPrivate
	}
	s, err := open(record, version)
	if err != nil {
		return nil, err
	}
	c := new(ShareSet)
	var target, shares, threshold uint8
	var public cryptobyte.String
	if !s.ReadUint8(&target) || !s.CopyBytes(c.ID[:]) || !s.ReadUint64(&c.Generation) || !readTime(&s, &c.Created) ||
		!s.ReadUint8(&shares) || !s.ReadUint8(&threshold) ||
		!s.ReadUint16LengthPrefixed(&public) || !s.CopyBytes(c.Key[:]) {
		return nil, truncated("share set")
	}
	c.Target, c.Shares, c.Threshold, c.PublicKey = Target(target), int(shares), int(threshold),
		append([]byte{}, public...)
	c.Holders = make([]Holder, shares)
	for i := range c.Holders {
		if !c.Holders[i].read(&s) {
			return nil, truncated("share set")
		}
	}
	if c.Previous, err = readPrevious(&s); err != nil {
		return nil, err
	}
	if version == shareSetVersionPrivate && !c.readKeys(&s) {
		return nil, truncated("share set")
	}
	if !s.Empty() {
		return nil, fmt.Errorf("%w: bytes after the end of the share set", ErrRecord)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (h *Holder) read(s *cryptobyte.String) bool {
	var name cryptobyte.String
	if !s.CopyBytes(h.Verifier[:]) || !readTime(s, &h.Proven) || !s.ReadUint8LengthPrefixed(&name) {
		return false
	}
	h.Name = string(name)
	return true
}

func readPrevious(s *cryptobyte.String) (*Previous, error) {
	var present, count uint8
	if !s.ReadUint8(&present) || present > 1 {
		return nil, truncated("share set")
	}
	if present == 0 {
		return nil, nil
	}
	f := new(Previous)
	if !s.CopyBytes(f.ID[:]) || !s.ReadUint64(&f.Generation) || !readTime(s, &f.Replaced) || !s.ReadUint8(&count) {
		return nil, truncated("share set")
	}
	f.Shares = make([]Verifier, count)
	for i := range f.Shares {
		if !s.CopyBytes(f.Shares[i][:]) {
			return nil, truncated("share set")
		}
	}
	return f, nil
}

// check refuses what the record cannot express.
func (c *ShareSet) check() error {
	if c.Target != Barrier && c.Target != Recovery {
		return fmt.Errorf("%w: the share set has the unknown %v", ErrRecord, c.Target)
	}
	if err := CheckCounts(c.Shares, c.Threshold); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if len(c.Holders) != c.Shares || len(c.PublicKey) == 0 || len(c.PublicKey) > maxPublicKey {
		return fmt.Errorf("%w: the share set has %d holders of %d shares, and a public key of %d bytes",
			ErrRecord, len(c.Holders), c.Shares, len(c.PublicKey))
	}
	if c.Previous != nil && len(c.Previous.Shares) > MaxShares {
		return fmt.Errorf("%w: the share set has %d previous shares", ErrRecord, len(c.Previous.Shares))
	}
	var names []string
	for _, h := range c.Holders {
		if h.Name != "" {
			names = append(names, h.Name)
		}
	}
	if err := checkNames(names); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}

// open checks a record's size and version and returns the rest.
func open(record []byte, version uint8) (cryptobyte.String, error) {
	if len(record) > maxRecord {
		return nil, fmt.Errorf("%w: it has %d bytes, more than the limit of %d", ErrRecord, len(record), maxRecord)
	}
	s := cryptobyte.String(record)
	var got uint8
	if !s.ReadUint8(&got) {
		return nil, fmt.Errorf("%w: it is empty", ErrRecord)
	}
	if got != version {
		return nil, fmt.Errorf("%w: it has version %d, and this program reads version %d; a newer version may have "+
			"written it", ErrRecord, got, version)
	}
	return s, nil
}

func truncated(what string) error {
	return fmt.Errorf("%w: the %s is truncated or malformed", ErrRecord, what)
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
	if !s.ReadUint64(&n) {
		return false
	}
	*t = time.Time{}
	if n != 0 {
		*t = time.Unix(0, int64(n)).UTC()
	}
	return true
}
