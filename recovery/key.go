package recovery

import (
	"crypto/hpke"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/secret"
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

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID(rnd io.Reader) ([16]byte, error) {
	var id [16]byte
	r, err := secret.Random(rnd, len(id))
	if err != nil {
		return id, err
	}
	defer r.Destroy()
	copy(id[:], r.Expose())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// newNonce is a UUID in its usual text.
func newNonce(rnd io.Reader) (string, error) {
	id, err := newUUID(rnd)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), nil
}
