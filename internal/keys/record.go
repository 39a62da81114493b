package keys

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
)

// id names a key in storage: one that is deleted and made again has another.
type id [16]byte

// Settings are what can be configured of a key, and what is known of all of its versions. Versions
// count from 1. Stored at "k/<name>" as
//
//	version u8 = 1 | id 16 | type u8 | flags u16 | parameter set u8 | key size u16 | latest u32 |
//	min available u32 | min decryption u32 | min encryption u32 | auto-rotation i64, ns |
//	backup: time i64, version u32 | restore: time i64, version u32
//
// Numbers are big-endian, times nanoseconds since 1970. The flags are those of [flags], from the
// lowest bit.
type Settings struct {
	Spec
	Exportable           bool
	AllowPlaintextBackup bool
	DeletionAllowed      bool
	Imported             bool
	ImportedRotation     bool // an imported key may be rotated
	SoftDeleted          bool

	Latest        int
	MinAvailable  int           // 0: nothing was trimmed
	MinDecryption int           // 1 at least
	MinEncryption int           // 0: the latest
	AutoRotate    time.Duration // 0: never

	Backup, Restored Event
}

// Event is when a backup was made or restored, and of which latest version. The zero Event has not
// happened.
type Event struct {
	At      int64 // nanoseconds since 1970
	Version int
}

const (
	settingsVersion = 1
	settingsSize    = 1 + 16 + 1 + 2 + 1 + 2 + 4*4 + 8 + 2*(8+4)
)

// flags lists the booleans in the order of their bits.
func (s *Settings) flags() []*bool {
	return []*bool{
		&s.Derived, &s.Convergent, &s.Exportable, &s.AllowPlaintextBackup, &s.DeletionAllowed, &s.Imported,
		&s.ImportedRotation,
		&s.SoftDeleted,
	}
}

func (s *Settings) marshal(of id) []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, settingsSize))
	b.AddUint8(settingsVersion)
	b.AddBytes(of[:])
	b.AddUint8(uint8(s.Type))
	var bits uint16
	for i, f := range s.flags() {
		if *f {
			bits |= 1 << i
		}
	}
	b.AddUint16(bits)
	b.AddUint8(uint8(s.ParameterSet))
	b.AddUint16(uint16(s.KeySize))
	for _, n := range []int{s.Latest, s.MinAvailable, s.MinDecryption, s.MinEncryption} {
		b.AddUint32(uint32(n))
	}
	b.AddUint64(uint64(s.AutoRotate))
	for _, e := range []Event{s.Backup, s.Restored} {
		b.AddUint64(uint64(e.At))
		b.AddUint32(uint32(e.Version))
	}
	return b.BytesOrPanic() // every field has a fixed size
}

func parseSettings(record []byte) (s Settings, of id, err error) {
	if len(record) != settingsSize || record[0] != settingsVersion {
		return s, of, fmt.Errorf("%w: version %d of a key's settings is expected", ErrRecord, settingsVersion)
	}
	in := cryptobyte.String(record[1:])
	var kind, set uint8
	var bits, size uint16
	in.CopyBytes(of[:])
	in.ReadUint8(&kind)
	in.ReadUint16(&bits)
	in.ReadUint8(&set)
	in.ReadUint16(&size)
	s.Type, s.ParameterSet, s.KeySize = Type(kind), int(set), int(size)
	all := s.flags()
	for i, f := range all {
		*f = bits>>i&1 == 1
	}
	for _, into := range []*int{&s.Latest, &s.MinAvailable, &s.MinDecryption, &s.MinEncryption} {
		var n uint32
		in.ReadUint32(&n)
		*into = int(n)
	}
	var rotate uint64
	in.ReadUint64(&rotate)
	s.AutoRotate = time.Duration(rotate)
	for _, e := range []*Event{&s.Backup, &s.Restored} {
		var at uint64
		var n uint32
		in.ReadUint64(&at)
		in.ReadUint32(&n)
		*e = Event{int64(at), int(n)}
	}
	if bits>>len(all) != 0 || s.Latest < 1 || s.Latest > maxVersion || s.MinAvailable > s.Latest || s.MinDecryption < 1 ||
		s.MinDecryption > s.Latest || s.MinEncryption > s.Latest || s.AutoRotate < 0 {
		return s, of, fmt.Errorf("%w: the settings of a key contradict each other", ErrRecord)
	}
	if err := s.Check(); err != nil {
		return s, of, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return s, of, nil
}

// maxVersion bounds version numbers, so that a damaged record cannot make loops endless.
const maxVersion = 10_000_000

// A version is stored at "v/<id>/<number>" as
//
//	version u8 = 1 | number u32 | created i64, ns since 1970 | provider u8-length |
//	public u16-length | reference u16-length | certificates u24-length: each u24-length, leaf first
const versionRecord = 1

func (v *Version) marshal() (*secret.Bytes, error) {
	size := 1 + 4 + 8 + 1 + len(v.Provider) + 2 + len(v.Material.Public) + 2 + v.Material.Reference.Len() + 3
	for _, c := range v.Chain {
		size += 3 + len(c)
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, size))
	b.AddUint8(versionRecord)
	b.AddUint32(uint32(v.Number))
	b.AddUint64(uint64(v.Created.UnixNano()))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(v.Provider)) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v.Material.Public) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v.Material.Reference.Expose()) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, c := range v.Chain {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c) })
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("keys: encoding version %d: %w", v.Number, err)
	}
	return secret.New(out), nil
}

func parseVersion(record []byte) (*Version, error) {
	in := cryptobyte.String(record)
	var kind uint8
	var number uint32
	var created uint64
	var provider, public, reference, chain cryptobyte.String
	if !in.ReadUint8(&kind) || kind != versionRecord || !in.ReadUint32(&number) || !in.ReadUint64(&created) ||
		!in.ReadUint8LengthPrefixed(&provider) || !in.ReadUint16LengthPrefixed(&public) ||
		!in.ReadUint16LengthPrefixed(&reference) ||
		!in.ReadUint24LengthPrefixed(&chain) || !in.Empty() || number == 0 || number > maxVersion {
		return nil, fmt.Errorf("%w: version %d of a key's version is expected", ErrRecord, versionRecord)
	}
	v := &Version{Number: int(number), Created: time.Unix(0, int64(created)).UTC(), Provider: string(provider)}
	if len(public) > 0 {
		v.Material.Public = append([]byte(nil), public...)
	}
	v.Material.Reference = secret.Copy(reference)
	for !chain.Empty() {
		var one cryptobyte.String
		if !chain.ReadUint24LengthPrefixed(&one) {
			return nil, fmt.Errorf("%w: the certificates of a version", ErrRecord)
		}
		v.Chain = append(v.Chain, append([]byte(nil), one...))
	}
	return v, nil
}
