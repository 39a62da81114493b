package recovery

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Target is the use of a share set's shares.
type Target uint8

// The targets.
const (
	Barrier  Target = 1 // they open the Shamir seal and authorise its rekey
	Recovery Target = 2 // they authorise while a device unseals; they decrypt break-glass records alone
)

// String returns the name in commands: "barrier" or "recovery".
func (t Target) String() string {
	switch t {
	case Barrier:
		return "barrier"
	case Recovery:
		return "recovery"
	}
	return fmt.Sprintf("target %d", uint8(t))
}

// ID identifies one share set. Verifiers are bound to it.
type ID [16]byte

// Verifier is a hash that identifies a key or a share:
//
//	SHA-256( "sealgate/recovery/verifier/v1" 00 | kind u8 | share set id 16 | length u8 | value )
//
// kind is 1 for the key and 2 for a share. Keys and shares have 256 bits of entropy, so a fast hash
// reveals nothing.
type Verifier [sha256.Size]byte

const (
	verifierDomain = "sealgate/recovery/verifier/v1\x00"
	kindKey        = 1
	kindShare      = 2
)

func verifierOf(kind byte, id ID, value *Secret) Verifier {
	h := sha256.New()
	h.Write([]byte(verifierDomain))
	h.Write([]byte{kind})
	h.Write(id[:])
	h.Write([]byte{byte(value.Len())})
	h.Write(value.Expose())
	return Verifier(h.Sum(nil))
}

// Previous is the previous generation of shares, kept to report a share as replaced.
type Previous struct {
	ID         ID
	Generation uint64
	Replaced   time.Time
	Shares     []Verifier
}

// ShareSet is one generation of a key's shares: everything except the shares. Holders[i] holds
// share number i+1.
type ShareSet struct {
	ID         ID
	Target     Target
	Generation uint64 // 1 for the first, one more with every rekey
	Shares     int
	Threshold  int
	Created    time.Time
	PublicKey  []byte // of the split seed: HPKE, MLKEM768-X25519
	Key        Verifier
	Holders    []Holder
	Previous   *Previous // nil in the first generation

	// RecordKey authenticates the sealed record: see [RecordKey]. It is nil in a share set that was
	// made before there was such a key, and in one from [ShareSet.Public]. Recovery shares have one
	// where their quorum is enrolled for break-glass: it authenticates the [BreakGlass] record.
	// PreviousKey is that of the unseal share set which this one replaces.
	RecordKey, PreviousKey *Secret
}

// Public returns a copy without secret keys. Only such a copy may be stored outside the barrier.
func (c *ShareSet) Public() *ShareSet {
	public := *c
	public.RecordKey, public.PreviousKey = nil, nil
	return &public
}

// DestroyKeys overwrites the secret keys of this copy of the share set. nil has none.
func (c *ShareSet) DestroyKeys() {
	if c != nil {
		c.RecordKey.Destroy()
		c.PreviousKey.Destroy()
		c.RecordKey, c.PreviousKey = nil, nil
	}
}

// NewShareSet makes a new seed, splits it and destroys it. It returns the record and the shares,
// which the caller distributes and destroys. previous is the share set that the new one replaces,
// or nil.
func NewShareSet(t Target, previous *ShareSet, shares, threshold int, rnd io.Reader, now time.Time) (*ShareSet,
	[]*Secret, error) {
	return makeShareSet(t, keysOf, previous, shares, threshold, rnd, now)
}

// NewBreakGlassSet is [NewShareSet] for recovery shares whose quorum is enrolled for break-glass.
func NewBreakGlassSet(previous *ShareSet, shares, threshold int, rnd io.Reader, now time.Time) (*ShareSet, []*Secret,
	error) {
	keys := func(_ Target, seed *Secret) ([]byte, *Secret, error) { return breakGlassKeys(seed) }
	return makeShareSet(Recovery, keys, previous, shares, threshold, rnd, now)
}

// deriveKeys derives the public key and the record key of a share set from its seed.
type deriveKeys func(t Target, seed *Secret) (public []byte, record *Secret, err error)

func makeShareSet(t Target, keys deriveKeys, previous *ShareSet, shares, threshold int, rnd io.Reader,
	now time.Time) (*ShareSet, []*Secret, error) {
	seed, err := secret.Random(rnd, SeedLen)
	if err != nil {
		return nil, nil, err
	}
	defer seed.Destroy()
	parts, err := Split(seed, shares, threshold, rnd)
	if err != nil {
		return nil, nil, err
	}
	c, err := describe(t, keys, seed, parts, rnd)
	if err != nil {
		destroyAll(parts)
		return nil, nil, err
	}
	c.Generation, c.Threshold, c.Created = 1, threshold, stamp(now)
	if previous != nil {
		c.Generation = previous.Generation + 1
		c.Previous = previous.retire(now)
		if t == Barrier {
			c.PreviousKey = previous.RecordKey
		}
	}
	return c, parts, nil
}

// describe makes the part of a share set that follows from its key and shares.
func describe(t Target, keys deriveKeys, seed *Secret, parts []*Secret, rnd io.Reader) (*ShareSet, error) {
	id, err := uuid.Bytes(rnd)
	if err != nil {
		return nil, err
	}
	public, record, err := keys(t, seed)
	if err != nil {
		return nil, err
	}
	c := &ShareSet{
		ID: id, Target: t, Shares: len(parts), PublicKey: public, RecordKey: record,
		Key:     verifierOf(kindKey, id, seed),
		Holders: make([]Holder, len(parts)),
	}
	for i, p := range parts {
		c.Holders[i].Verifier = verifierOf(kindShare, id, p)
	}
	return c, nil
}

// keysOf derives the public key of a share set and, for shares that unseal, the key that
// authenticates the sealed record.
func keysOf(t Target, seed *Secret) (public []byte, record *Secret, err error) {
	if t != Barrier {
		k, err := PrivateKey(seed)
		if err != nil {
			return nil, nil, err
		}
		return k.PublicKey().Bytes(), nil, nil
	}
	if public, err = PublicKey(seed); err != nil {
		return nil, nil, err
	}
	record, err = RecordKey(seed)
	return public, record, err
}

func (c *ShareSet) retire(now time.Time) *Previous {
	f := &Previous{ID: c.ID, Generation: c.Generation, Replaced: stamp(now), Shares: make([]Verifier, len(c.Holders))}
	for i, h := range c.Holders {
		f.Shares[i] = h.Verifier
	}
	return f
}

// Identify returns the number of a share, counted from 1. It compares every verifier in constant
// time. The errors are [ErrShareLength], [ErrShareUnknown], and [ErrShareReplaced] for a share of
// the previous generation.
func (c *ShareSet) Identify(share *Secret) (int, error) {
	if err := checkShareLength(share); err != nil {
		return 0, err
	}
	mine := verifierOf(kindShare, c.ID, share)
	number := 0
	for i := range c.Holders {
		same := subtle.ConstantTimeCompare(mine[:], c.Holders[i].Verifier[:])
		number = subtle.ConstantTimeSelect(same, i+1, number)
	}
	if number > 0 {
		return number, nil
	}
	if c.Previous.holds(share) {
		return 0, &worded{fmt.Sprintf("share rejected: it is of generation %d, which was replaced on %s; use a "+
			"share of generation %d",
			c.Previous.Generation, c.Previous.Replaced.Format(time.RFC3339), c.Generation), ErrShareReplaced}
	}
	return 0, ErrShareUnknown
}

func (f *Previous) holds(share *Secret) bool {
	if f == nil {
		return false
	}
	mine := verifierOf(kindShare, f.ID, share)
	found := 0
	for i := range f.Shares {
		found |= subtle.ConstantTimeCompare(mine[:], f.Shares[i][:])
	}
	return found == 1
}

// VerifyKey reports whether key is the key that was split.
func (c *ShareSet) VerifyKey(key *Secret) bool {
	mine := verifierOf(kindKey, c.ID, key)
	return subtle.ConstantTimeCompare(mine[:], c.Key[:]) == 1
}

// stamp returns a time as a record restores it.
func stamp(t time.Time) time.Time { return time.Unix(0, t.UnixNano()).UTC() }

func destroyAll(list []*Secret) {
	for _, s := range list {
		s.Destroy()
	}
}
