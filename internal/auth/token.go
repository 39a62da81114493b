package auth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Keys of the barrier.
const (
	saltKey        = "auth/salt"
	tokenPrefix    = "auth/token/"    // + hex of the token's hash: the record
	accessorPrefix = "auth/accessor/" // + hex of the accessor's hash: the token's hash
)

// Purposes that the salted hash tells apart.
const (
	purposeToken    = "token"
	purposeAccessor = "accessor"
)

// Type says how a token lives.
type Type uint8

// TypeService is the type of a token that has a record of its own.
const TypeService Type = 1

// String gives Vault's name of the type.
func (t Type) String() string {
	if t == TypeService {
		return "service"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Token is what is stored of a token, in the barrier at "auth/token/<hex of its salted hash>":
//
//	version u8 = 1 | type u8 | accessor u8+n | display name u16+n | path u16+n |
//	parent u8+n (0 or 32 bytes: the parent's hash) | policies u24( u16+n ... ) |
//	created i64 | creation ttl i64 | expires i64 (0: never)
//
// Times are nanoseconds since 1970 UTC, durations nanoseconds, integers big-endian; "u8+n" is a length and as many bytes.
// A later version adds fields behind.
type Token struct {
	Type        Type
	Accessor    string
	DisplayName string
	Path        string // the path that made it, "auth/token/root"
	Parent      []byte // the hash of the token whose end is this one's too; empty for an orphan
	Policies    []string
	Created     time.Time
	TTL         time.Duration // at creation; 0 where it does not expire
	Expires     time.Time     // zero: never

	identity Identity // made once
}

const (
	tokenVersion = 1
	maxPolicies  = 1024
)

// ErrRecord is returned for stored bytes that are not a record of this package.
var ErrRecord = errors.New("auth: not a valid record")

// Orphan reports whether the token outlives every other.
func (t *Token) Orphan() bool { return len(t.Parent) == 0 }

func (t *Token) identify() {
	t.identity = Identity{
		Accessor:    t.Accessor,
		DisplayName: t.DisplayName,
		Policies:    t.Policies,
		Root:        slices.Contains(t.Policies, "root"),
	}
}

// Marshal returns the stored form.
func (t *Token) Marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(tokenVersion)
	b.AddUint8(uint8(t.Type))
	b.AddUint8LengthPrefixed(text(t.Accessor))
	b.AddUint16LengthPrefixed(text(t.DisplayName))
	b.AddUint16LengthPrefixed(text(t.Path))
	b.AddUint8LengthPrefixed(text(string(t.Parent)))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, p := range t.Policies {
			b.AddUint16LengthPrefixed(text(p))
		}
	})
	b.AddUint64(uint64(t.Created.UnixNano()))
	b.AddUint64(uint64(t.TTL))
	b.AddUint64(uint64(instant(t.Expires)))
	return b.Bytes()
}

func text(s string) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) }
}

// instant is a time as it is stored; the zero time is 0.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// UnmarshalToken is the inverse of [Token.Marshal]; it fails with [ErrRecord].
func UnmarshalToken(record []byte) (*Token, error) {
	s := cryptobyte.String(record)
	var version, kind uint8
	if !s.ReadUint8(&version) || version != tokenVersion {
		return nil, fmt.Errorf("%w: a token's version must be %d", ErrRecord, tokenVersion)
	}
	t := &Token{}
	var accessor, name, path, parent, policies cryptobyte.String
	var created, ttl, expires uint64
	if !s.ReadUint8(&kind) ||
		!s.ReadUint8LengthPrefixed(&accessor) || !s.ReadUint16LengthPrefixed(&name) ||
		!s.ReadUint16LengthPrefixed(&path) || !s.ReadUint8LengthPrefixed(&parent) ||
		!s.ReadUint24LengthPrefixed(&policies) ||
		!s.ReadUint64(&created) || !s.ReadUint64(&ttl) || !s.ReadUint64(&expires) || !s.Empty() {
		return nil, fmt.Errorf("%w: a token's record is cut short or too long", ErrRecord)
	}
	if Type(kind) != TypeService {
		return nil, fmt.Errorf("%w: unknown type of token %d", ErrRecord, kind)
	}
	if n := len(parent); n != 0 && n != len(digest{}) {
		return nil, fmt.Errorf("%w: a token's parent has %d bytes", ErrRecord, n)
	}
	t.Type, t.Accessor, t.DisplayName, t.Path = Type(kind), string(accessor), string(name), string(path)
	t.Parent = slices.Clone([]byte(parent))
	for !policies.Empty() {
		var p cryptobyte.String
		if !policies.ReadUint16LengthPrefixed(&p) || len(t.Policies) == maxPolicies {
			return nil, fmt.Errorf("%w: a token's policies", ErrRecord)
		}
		t.Policies = append(t.Policies, string(p))
	}
	t.Created = time.Unix(0, int64(created)).UTC()
	t.TTL = time.Duration(ttl)
	if expires != 0 {
		t.Expires = time.Unix(0, int64(expires)).UTC()
	}
	t.identify()
	return t, nil
}

func tokenKey(d digest) string { return tokenPrefix + hex.EncodeToString(d[:]) }

// digestOf is the inverse of tokenKey.
func digestOf(key string) (d digest, ok bool) {
	name, ok := strings.CutPrefix(key, tokenPrefix)
	if !ok || len(name) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(name))
	return d, err == nil
}
