package keys

import (
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
)

// OpenPublic returns a handle that has the public part alone: it verifies, and encrypts with RSA.
func OpenPublic(s Spec, public []byte) (any, error) {
	switch s.Type.traits().family {
	case ecdsaFamily:
		return openECDSA(s, nil, public, macKey{})
	case rsaFamily:
		return openRSA(s, nil, public, macKey{})
	case ed25519Family:
		return openEd25519(s, nil, public, macKey{})
	}
	return nil, fmt.Errorf("%w: a key of type %s has no public part", ErrRecord, s.Type)
}

// Digest returns what is signed of an input: itself where it is the digest already.
func Digest(input []byte, p SignParams) ([]byte, error) {
	sum := digest(input, p)
	if p.Hash != 0 && len(sum) != p.Hash.Size() {
		return nil, fault.New(fault.Invalid, "the input has %d bytes, and a digest of %s has %d", len(sum), p.Hash,
			p.Hash.Size())
	}
	return sum, nil
}

// Fingerprint returns the fingerprint of a key that a name identifies.
func Fingerprint(name string) [8]byte { return fingerprint([]byte(name)) }
