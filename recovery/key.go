package recovery

import (
	"crypto/hpke"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/uuid"
)

// SeedLen is the length of the key that is split: the seed of an MLKEM768-X25519 private key (draft-ietf-hpke-pq; X-Wing).
const SeedLen = 32

// PrivateKey derives the quorum's decryption key from the seed that its shares combine to.
func PrivateKey(seed *secret.Bytes) (hpke.PrivateKey, error) {
	if seed.Len() != SeedLen {
		return nil, &worded{fmt.Sprintf("the key of a quorum has %d bytes, not %d", SeedLen, seed.Len()), ErrKeyLength}
	}
	k, err := hpke.MLKEM768X25519().NewPrivateKey(seed.Expose())
	if err != nil {
		return nil, fmt.Errorf("deriving the quorum's key: %w", err)
	}
	return k, nil
}

// PublicKey derives the key that anybody may encrypt to the quorum with.
func PublicKey(seed *secret.Bytes) ([]byte, error) {
	k, err := PrivateKey(seed)
	if err != nil {
		return nil, err
	}
	return k.PublicKey().Bytes(), nil
}

// newNonce returns the text of a random UUID.
func newNonce(rnd io.Reader) (string, error) { return uuid.New(rnd) }
