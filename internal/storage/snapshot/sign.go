package snapshot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// signDomain separates the signatures of snapshots from others.
const signDomain = "sealgate/snapshot/signature/v1\x00"

// ErrSigner is returned where a snapshot is not signed by a key that was asked for.
var ErrSigner = errors.New("snapshot: not signed by the expected key")

// signedBytes returns what a signature covers: the domain, then the SHA-256 of SHA256SUMS and that
// of SHA256SUMS.sealed. The sums cover all other files.
func signedBytes(sums, sealed []byte) []byte {
	first, second := sha256.Sum256(sums), sha256.Sum256(sealed)
	return append(append([]byte(signDomain), first[:]...), second[:]...)
}

// Sign returns the signature of a snapshot with these files.
func Sign(key ed25519.PrivateKey, sums, sealed []byte) []byte {
	return ed25519.Sign(key, signedBytes(sums, sealed))
}

// CheckSigner returns nil if one of the keys signed the snapshot, which Read has read.
func (i *Info) CheckSigner(keys ...ed25519.PublicKey) error {
	if !i.Signed() {
		return fmt.Errorf("%w: it carries no signature: an older program made it, or its signature was removed", ErrSigner)
	}
	for _, k := range keys {
		if bytes.Equal(k, i.Signer) {
			return nil
		}
	}
	return fmt.Errorf("%w: the key %x signed it", ErrSigner, i.Signer)
}
