package kv

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// secret is the record of a version 2 secret, stored at "m/<path>":
//
//	version u8 = 1 | flags u8 | id 16 | current u64 | created i64 | updated i64 |
//	metadata version u64 | max versions u32 | delete after i64 |
//	custom u24-length JSON object, or nothing | versions u24-length: 17 bytes each, see [versions] |
//	value of the current version, a JSON object, or nothing
//
// Numbers are big-endian, times nanoseconds since 1970, the duration nanoseconds. Flags: 1 requires
// check-and-set, 2 requires it for metadata. A small value is in the record, so that one read
// returns everything; a larger one is at "d/<id>/<number>".
//
// A parsed secret shares the record's memory.
type secret struct {
	flags       byte
	id          id
	current     uint64 // 0: metadata only
	created     int64
	updated     int64
	metaVersion uint64
	maxVersions uint32
	deleteAfter int64
	custom      json.RawMessage
	versions    versions // the kept ones; the last is the current one
	value       json.RawMessage
}

const (
	secretVersion  = 1
	secretHeader   = 1 + 1 + 16 + 8 + 8 + 8 + 8 + 4 + 8
	flagCAS        = 1
	flagMetaCAS    = 2
	flagsKnown     = flagCAS | flagMetaCAS
	maxVersionsCap = 10_000 // bounds a secret's record
)

// id names a secret's values in storage: a secret that is removed and created again has a new one.
type id [16]byte

// errRecord is returned for stored bytes that are not a record of this package.
var errRecord = errors.New("kv: not a valid record")

func (s *secret) marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, secretHeader+6+len(s.custom)+len(s.versions)+len(s.value)))
	b.AddUint8(secretVersion)
	b.AddUint8(s.flags)
	b.AddBytes(s.id[:])
	for _, n := range []uint64{s.current, uint64(s.created), uint64(s.updated), s.metaVersion} {
		b.AddUint64(n)
	}
	b.AddUint32(s.maxVersions)
	b.AddUint64(uint64(s.deleteAfter))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.custom) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.versions) })
	b.AddBytes(s.value)
	return b.Bytes()
}

// parseSecret checks lengths and numbers, not the JSON, which the barrier has authenticated.
func parseSecret(b []byte) (s secret, err error) {
	if len(b) < secretHeader || b[0] != secretVersion || b[1]&^flagsKnown != 0 {
		return s, fmt.Errorf("%w: a secret must be version %d", errRecord, secretVersion)
	}
	s.flags = b[1]
	copy(s.id[:], b[2:18])
	number := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	s.current, s.created, s.updated, s.metaVersion = number(18), int64(number(26)), int64(number(34)), number(42)
	s.maxVersions, s.deleteAfter = binary.BigEndian.Uint32(b[50:]), int64(number(54))
	rest := cryptobyte.String(b[secretHeader:])
	var custom, list cryptobyte.String
	if !rest.ReadUint24LengthPrefixed(&custom) || !rest.ReadUint24LengthPrefixed(&list) {
		return s, fmt.Errorf("%w: a secret is cut off", errRecord)
	}
	s.versions = versions(list)
	if !s.versions.valid() || uint64(s.versions.count()) > s.current || s.current > 0 && len(list) == 0 {
		return s, fmt.Errorf("%w: %d bytes of versions, the current one is %d", errRecord, len(list), s.current)
	}
	if s.custom, err = object(custom); err == nil {
		s.value, err = object(rest)
	}
	if err == nil && s.value != nil && (s.current == 0 || s.versions.at(s.versions.count()-1).destroyed) {
		err = fmt.Errorf("%w: a value without a version", errRecord)
	}
	return s, err
}

// object accepts nothing, or bytes that begin and end like a JSON object.
func object(b []byte) (json.RawMessage, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return nil, fmt.Errorf("%w: an object is expected", errRecord)
	}
	return json.RawMessage(b), nil
}

// oldest returns the number of the oldest kept version.
func (s *secret) oldest() uint64 { return s.current - uint64(s.versions.count()) + 1 }

// find returns a version by its number; 0 is the current one.
func (s *secret) find(number uint64) (version, bool) {
	if number == 0 {
		number = s.current
	}
	if number == 0 || number > s.current || number < s.oldest() {
		return version{}, false
	}
	v := s.versions.at(int(number - s.oldest()))
	v.number = number
	return v, true
}

// update writes a version back.
func (s *secret) update(v version) { s.versions.set(int(v.number-s.oldest()), v) }

// version is one version of a secret. It is deleted from its deletion time on, which may be in the
// future; 0 is never.
type version struct {
	number    uint64
	created   int64
	deletion  int64
	destroyed bool
}

func (v version) deleted(now time.Time) bool { return v.deletion != 0 && v.deletion <= now.UnixNano() }

// versions are consecutive, the oldest first, each
//
//	created i64 | deletion i64, or 0 | u8: 1 if it is destroyed, else 0
type versions []byte

const versionSize = 8 + 8 + 1

func (v versions) count() int { return len(v) / versionSize }

func (v versions) valid() bool {
	if len(v)%versionSize != 0 {
		return false
	}
	for i := versionSize - 1; i < len(v); i += versionSize {
		if v[i] > 1 {
			return false
		}
	}
	return true
}

func (v versions) at(i int) version {
	b := v[i*versionSize:]
	return version{
		created: int64(binary.BigEndian.Uint64(b)), deletion: int64(binary.BigEndian.Uint64(b[8:])), destroyed: b[16] == 1,
	}
}

func (v versions) set(i int, one version) {
	one.put(v[i*versionSize : i*versionSize])
}

func (v version) put(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(v.created))
	b = binary.BigEndian.AppendUint64(b, uint64(v.deletion))
	if v.destroyed {
		return append(b, 1)
	}
	return append(b, 0)
}

// with returns the list with a version appended; it does not touch the old list's memory.
func (v versions) with(one version) versions {
	return one.put(append(make(versions, 0, len(v)+versionSize), v...))
}
