package token

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Storage keys behind the barrier.
const (
	saltKey        = "auth/salt"
	batchKeyKey    = "auth/batch-key"
	tokenPrefix    = "auth/token/"    // + hex of the token's hash: the record
	accessorPrefix = "auth/accessor/" // + hex of the accessor's hash: record is the token's hash
	childPrefix    = "auth/child/"    // + the parent's hash + "/" + the child's: marks a parent-child link
	expiryPrefix   = "auth/expiry/"   // + the second in 12 digits + "/" + the token's hash: when the token is due
	endedPrefix    = "auth/ended/"    // + hash: a revoked token whose children are still to be removed
	releasedPrefix = "auth/released/" // + hash: a token revoked without its children, which still must become orphans
	rolePrefix     = "auth/role/"     // + the name, escaped
)

// Purposes separate the domains of the salted hash.
const (
	purposeToken    = "token"
	purposeAccessor = "accessor"
	purposeBatch    = "batch"
)

// Type is the kind of a token, which decides where its record is kept.
type Type uint8

const (
	TypeService Type = 1 // stored in the barrier, and can be renewed and revoked
	TypeBatch   Type = 2 // its text is its encrypted record; nothing is stored
)

// String returns Vault's name of the type.
func (t Type) String() string {
	switch t {
	case TypeService:
		return "service"
	case TypeBatch:
		return "batch"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Token is the record of a token. A service token's is stored behind the barrier at
// "auth/token/<hex of its salted hash>":
//
//	version u8 = 2 | type u8 | accessor u8+n | display name u16+n | path u16+n |
//	parent u8+n (0 or 32 bytes: the parent's hash) | policies u24( u16+n ... ) |
//	created i64 | creation ttl i64 | expires i64 (0: never) |
//	flags u8 (1: renewable) | explicit maximum i64 | period i64 |
//	uses i64 (0: unlimited; -1: none left) | renewed i64 (0: never) |
//	role u16+n | metadata u24( key u16+n | value u16+n ... ), by key | networks u16( u8+n ... )
//
// Times are nanoseconds since 1970 UTC, durations nanoseconds, integers big-endian; "u8+n" is a
// length and as many bytes. Version 1 ends after expires. A later version appends fields.
type Token struct {
	Type        Type
	Accessor    string
	DisplayName string
	Path        string // the request path that created it, such as "auth/token/root"
	Parent      []byte // the hash of the token that this one ends with; empty for an orphan
	Policies    []string
	Created     time.Time
	TTL         time.Duration // at creation; 0 where it does not expire
	Expires     time.Time     // zero: never

	Renewable   bool
	ExplicitMax time.Duration // counted from creation; 0: none
	Period      time.Duration // the TTL after every renewal; 0: not periodic
	Uses        int64         // remaining; 0: unlimited; -1: none, the token is about to end
	Renewed     time.Time     // zero: never
	Role        string
	Meta        map[string]string
	Networks    []string // CIDRs that may use it; empty: all
}

const (
	tokenVersion1 = 1
	tokenVersion  = 2
	maxPolicies   = 1024
	maxMeta       = 1024
	flagRenewable = 1
)

// ErrRecord is returned for stored bytes that are not a valid record of this package.
var ErrRecord = errors.New("token: not a valid record")

// Orphan reports whether the token has no parent.
func (t *Token) Orphan() bool { return len(t.Parent) == 0 }

// Root reports whether the token has the root policy.
func (t *Token) Root() bool { return slices.Contains(t.Policies, rootPolicy) }

func (t *Token) expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Left returns the remaining life; 0 if the token does not expire.
func (t *Token) Left(now time.Time) time.Duration {
	if t.Expires.IsZero() {
		return 0
	}
	return max(0, t.Expires.Sub(now))
}

func (t *Token) identity() Identity {
	return Identity{Accessor: t.Accessor, DisplayName: t.DisplayName, Policies: t.Policies, Root: t.Root()}
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
	for _, n := range []int64{t.Created.UnixNano(), int64(t.TTL), instant(t.Expires)} {
		b.AddUint64(uint64(n))
	}
	flags := uint8(0)
	if t.Renewable {
		flags = flagRenewable
	}
	b.AddUint8(flags)
	for _, n := range []int64{int64(t.ExplicitMax), int64(t.Period), t.Uses, instant(t.Renewed)} {
		b.AddUint64(uint64(n))
	}
	b.AddUint16LengthPrefixed(text(t.Role))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, key := range slices.Sorted(maps.Keys(t.Meta)) {
			b.AddUint16LengthPrefixed(text(key))
			b.AddUint16LengthPrefixed(text(t.Meta[key]))
		}
	})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range t.Networks {
			b.AddUint8LengthPrefixed(text(n))
		}
	})
	return b.Bytes()
}

func text(s string) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) }
}

// instant converts a time for storage; the zero time is 0.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromInstant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func tokenKey(d digest) string         { return tokenPrefix + d.String() }
func releasedKey(d digest) string      { return releasedPrefix + d.String() }
func endedKey(d digest) string         { return endedPrefix + d.String() }
func childKey(parent, d digest) string { return childPrefix + parent.String() + "/" + d.String() }

// expiryKey is the key that schedules a token for expiry: in the second after it has expired.
func expiryKey(at time.Time, d digest) string {
	return fmt.Sprintf("%s%012d/%s", expiryPrefix, at.Unix()+1, d)
}

// String returns the hash in hex.
func (d digest) String() string { return hex.EncodeToString(d[:]) }

// digestOf is the inverse of tokenKey.
func digestOf(key string) (digest, bool) {
	name, ok := strings.CutPrefix(key, tokenPrefix)
	if !ok {
		return digest{}, false
	}
	return parseDigest(name)
}

func parseDigest(name string) (d digest, ok bool) {
	if len(name) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(name))
	return d, err == nil
}
