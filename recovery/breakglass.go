package recovery

import (
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
)

// Recovery shares decrypt nothing, unless their holders have enrolled for break-glass: then the
// server keeps the root key encrypted to their quorum, for the case that every seal is lost.

// Labels of break-glass. They differ from those of unseal shares, so that nothing which was
// encrypted to the same shares in another role can be passed off as a break-glass record.
const (
	breakGlassKeyLabel    = "sealgate/recovery/break-glass-key/v1"
	breakGlassRecordLabel = "sealgate/recovery/break-glass-record/v1"
	breakGlassInfo        = "sealgate/recovery/break-glass/v1\x00"
	breakGlassTag         = "sealgate/recovery/break-glass/v1/tag\x00"
)

// Errors of break-glass.
var (
	// ErrBreakGlassForged is returned for a record that no server wrote that knew the quorum's key.
	ErrBreakGlassForged = errors.New("the break-glass record was not written by a server that knew these shares: " +
		"it fails its authentication")
	// ErrNotEnrolled is returned for a share set whose holders are not enrolled for break-glass.
	ErrNotEnrolled = errors.New("the holders of the recovery shares are not enrolled for break-glass")
)

// BreakGlass is a root key that the quorum of the recovery shares can decrypt. It is stored outside
// the barrier.
//
//	version u8 = 1
//	generation u64         of the root key
//	cluster   u8-len text
//	share set u24-len      ShareSet.Public().Marshal() of the shares that decrypt
//	sealed    u16-len      HPKE (MLKEM768-X25519, HKDF-SHA-256, AES-256-GCM): encapsulated key,
//	                       ciphertext of the root key
//	tag       32 bytes     HMAC-SHA-256 over all the above, by the RecordKey of the share set
//
// The info of HPKE is breakGlassInfo, the cluster with its length, the generation and the SHA-256
// of the share set, so that a ciphertext cannot be moved. Anybody can encrypt to the public key:
// the tag proves who did. Its key follows from the seed that the shares combine to; the server has
// it behind the barrier.
type BreakGlass struct {
	Generation uint64
	Cluster    string
	ShareSet   []byte
	Sealed     []byte
	Tag        []byte
}

const (
	breakGlassVersion = 1
	maxCluster        = 255
	maxSealed         = 4096
)

// Decrypts reports whether the shares are recovery shares whose quorum is enrolled for break-glass.
// A copy from [ShareSet.Public] is never enrolled.
func (c *ShareSet) Decrypts() bool {
	return c != nil && c.Target == Recovery && c.RecordKey.Len() > 0
}

// ForBreakGlass returns the share set of recovery shares whose quorum can decrypt. It takes the key
// that the shares combine to. The shares stay valid.
func (c *ShareSet) ForBreakGlass(key *Secret) (*ShareSet, error) {
	if c.Target != Recovery {
		return nil, &worded{"unseal shares decrypt already; they need no break-glass", ErrPurpose}
	}
	if !c.VerifyKey(key) {
		return nil, ErrWrongKey
	}
	public, record, err := breakGlassKeys(key)
	if err != nil {
		return nil, err
	}
	next := c.clone()
	next.PublicKey, next.RecordKey, next.PreviousKey = public, record, nil
	return next, nil
}

// breakGlassPrivate derives the key that decrypts break-glass records.
func breakGlassPrivate(seed *Secret) (hpke.PrivateKey, error) {
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	key, err := derive(seed, breakGlassKeyLabel)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	return PrivateKey(key)
}

func breakGlassKeys(seed *Secret) (public []byte, record *Secret, err error) {
	private, err := breakGlassPrivate(seed)
	if err != nil {
		return nil, nil, err
	}
	record, err = derive(seed, breakGlassRecordLabel)
	return private.PublicKey().Bytes(), record, err
}

// SealBreakGlass encrypts a root key to the quorum of an enrolled share set.
func SealBreakGlass(root *Secret, cluster string, generation uint64, to *ShareSet) (r *BreakGlass, err error) {
	if !to.Decrypts() {
		return nil, ErrNotEnrolled
	}
	r = &BreakGlass{Generation: generation, Cluster: cluster, ShareSet: to.Public().Marshal()}
	public, err := hpke.MLKEM768X25519().NewPublicKey(to.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("the public key of the quorum: %w", err)
	}
	secret.Do(func() {
		r.Sealed, err = hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), r.info(), root.Expose())
	})
	if err != nil {
		return nil, fmt.Errorf("encrypting the root key to the quorum: %w", err)
	}
	r.Tag = r.tag(to.RecordKey)
	return r, nil
}

// Open decrypts the root key with the key that the shares combine to. It checks first that a server
// wrote the record that knew the shares.
func (r *BreakGlass) Open(seed *Secret) (root *Secret, err error) {
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	secret.Do(func() { root, err = r.open(seed) })
	return root, err
}

func (r *BreakGlass) open(seed *Secret) (*Secret, error) {
	record, err := derive(seed, breakGlassRecordLabel)
	if err != nil {
		return nil, err
	}
	defer record.Destroy()
	if !hmac.Equal(r.tag(record), r.Tag) {
		return nil, ErrBreakGlassForged
	}
	private, err := breakGlassPrivate(seed)
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), r.info(), r.Sealed)
	if err != nil {
		return nil, ErrBreakGlassForged
	}
	defer clear(plain)
	return secret.Locked(plain), nil
}

// Holds reports whether a server wrote the record for a root key of this generation and cluster,
// and for this share set, which is enrolled.
func (r *BreakGlass) Holds(cluster string, generation uint64, of *ShareSet) bool {
	return of.Decrypts() && r.Cluster == cluster && r.Generation == generation &&
		string(r.ShareSet) == string(of.Public().Marshal()) && hmac.Equal(r.tag(of.RecordKey), r.Tag)
}

func (r *BreakGlass) info() []byte {
	b := cryptobyte.NewBuilder([]byte(breakGlassInfo))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.Cluster)) })
	b.AddUint64(r.Generation)
	sum := sha256.Sum256(r.ShareSet)
	b.AddBytes(sum[:])
	return b.BytesOrPanic()
}

func (r *BreakGlass) tag(key *Secret) (sum []byte) {
	secret.Do(func() {
		h := hmac.New(sha256.New, key.Expose())
		h.Write([]byte(breakGlassTag))
		h.Write(r.body())
		sum = h.Sum(nil)
	})
	return sum
}

func (r *BreakGlass) body() []byte {
	b := cryptobyte.NewBuilder(binary.BigEndian.AppendUint64([]byte{breakGlassVersion}, r.Generation))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.Cluster)) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.ShareSet) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.Sealed) })
	return b.BytesOrPanic()
}

// Marshal encodes the record. It panics for one beyond the bounds of [UnmarshalBreakGlass], which
// neither [SealBreakGlass] nor a record can make.
func (r *BreakGlass) Marshal() []byte {
	if len(r.Cluster) > maxCluster || len(r.Sealed) > maxSealed || len(r.Tag) != sha256.Size {
		panic("recovery: a break-glass record beyond its bounds")
	}
	return append(r.body(), r.Tag...)
}

// UnmarshalBreakGlass decodes a record of [BreakGlass.Marshal], and the share set in it. Neither is
// authentic before [BreakGlass.Open] succeeds. Errors wrap [ErrRecord].
func UnmarshalBreakGlass(record []byte) (*BreakGlass, *ShareSet, error) {
	s, err := open(record, breakGlassVersion)
	if err != nil {
		return nil, nil, err
	}
	r := &BreakGlass{Tag: make([]byte, sha256.Size)}
	var cluster, shareSet, sealed cryptobyte.String
	if !s.ReadUint64(&r.Generation) || !s.ReadUint8LengthPrefixed(&cluster) || !s.ReadUint24LengthPrefixed(&shareSet) ||
		!s.ReadUint16LengthPrefixed(&sealed) || len(sealed) > maxSealed || !s.CopyBytes(r.Tag) || !s.Empty() {
		return nil, nil, truncated("break-glass record")
	}
	r.Cluster, r.ShareSet, r.Sealed = string(cluster), append([]byte{}, shareSet...), append([]byte{}, sealed...)
	of, err := UnmarshalShareSet(r.ShareSet)
	if err != nil {
		return nil, nil, fmt.Errorf("the share set of a break-glass record: %w", err)
	}
	if of.Target != Recovery || of.RecordKey != nil {
		of.DestroyKeys()
		return nil, nil, fmt.Errorf("%w: the share set of a break-glass record is not of recovery shares, or has keys",
			ErrRecord)
	}
	return r, of, nil
}
