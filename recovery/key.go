package recovery

import (
	"crypto/hpke"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/uuid"
)

// SeedLen is the length of the split key: the seed of an MLKEM768-X25519 private key
// (draft-ietf-hpke-pq; X-Wing).
const SeedLen = 32

// PrivateKey derives the quorum's decryption key from the seed to which its shares combine.
func PrivateKey(seed *Secret) (hpke.PrivateKey, error) {
	if seed.Len() != SeedLen {
		return nil, &worded{fmt.Sprintf("the quorum key has %d bytes, not %d", SeedLen, seed.Len()), ErrKeyLength}
	}
	k, err := hpke.MLKEM768X25519().NewPrivateKey(seed.Expose())
	if err != nil {
		return nil, fmt.Errorf("deriving the quorum's key: %w", err)
	}
	return k, nil
}

// PublicKey derives the key that encrypts to the quorum.
func PublicKey(seed *Secret) ([]byte, error) {
	k, err := PrivateKey(seed)
	if err != nil {
		return nil, err
	}
	return k.PublicKey().Bytes(), nil
}

// newNonce returns the text of a random UUID.
func newNonce(rnd io.Reader) (string, error) { return uuid.New(rnd) }
