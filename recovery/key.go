package recovery

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/uuid"
)

// SeedLen is the length of the split key: the seed of an MLKEM768-X25519 private key
// (draft-ietf-hpke-pq; X-Wing).
const SeedLen = 32

// Labels of the keys that are derived from a seed.
const (
	sealKeyLabel   = "sealgate/recovery/seal-key/v2"
	recordKeyLabel = "sealgate/recovery/record-key/v1"
)

// SealKey derives the quorum's decryption key from the seed to which its shares combine. Share sets
// that were made before records were authenticated use [PrivateKey] instead: because the two keys
// differ, a record of the old kind cannot be passed off as one for new shares.
func SealKey(seed *Secret) (hpke.PrivateKey, error) {
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	key, err := derive(seed, sealKeyLabel)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	return PrivateKey(key)
}

// RecordKey derives the key by which the quorum authenticates the sealed record. Only who knows the
// shares, or reads behind the barrier, knows it.
func RecordKey(seed *Secret) (*Secret, error) {
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	return derive(seed, recordKeyLabel)
}

func derive(seed *Secret, label string) (*Secret, error) {
	key, err := hkdf.Expand(sha256.New, seed.Expose(), label, SeedLen)
	if err != nil {
		return nil, fmt.Errorf("deriving a key of the quorum: %w", err)
	}
	return secret.New(key), nil
}

func checkSeed(seed *Secret) error {
	if seed.Len() != SeedLen {
		return &worded{fmt.Sprintf("the quorum key has %d bytes, not %d", SeedLen, seed.Len()), ErrKeyLength}
	}
	return nil
}

// PrivateKey derives the decryption key of a quorum whose share set was made before [SealKey], and
// of recovery shares.
func PrivateKey(seed *Secret) (hpke.PrivateKey, error) {
	if err := checkSeed(seed); err != nil {
		return nil, err
	}
	k, err := hpke.MLKEM768X25519().NewPrivateKey(seed.Expose())
	if err != nil {
		return nil, fmt.Errorf("deriving the quorum's key: %w", err)
	}
	return k, nil
}

// PublicKey derives the key that encrypts to a quorum whose shares unseal: see [SealKey].
func PublicKey(seed *Secret) ([]byte, error) {
	k, err := SealKey(seed)
	if err != nil {
		return nil, err
	}
	return k.PublicKey().Bytes(), nil
}

// newNonce returns the text of a random UUID.
func newNonce(rnd io.Reader) (string, error) { return uuid.New(rnd) }
