package cosign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// devicePrefix begins the names of signers that are keys in an HSM or KMS of the server. The server
// takes no other signature under such a name.
const devicePrefix = "device:"

// DeviceName returns the name of the signer that is a managed key, given as "<type>/<name>".
func DeviceName(key string) string { return devicePrefix + key }

// IsDevice reports whether a name is that of a key in a device.
func IsDevice(name string) bool { return strings.HasPrefix(name, devicePrefix) }

// minRSA is the shortest modulus of an RSA key that signs for a device, in bits.
const minRSA = 2048

// ErrKey is returned for a key in a device that cannot sign in the form of SSH.
var ErrKey = errors.New("the key is of another type than those that sign the transcript: Ed25519, ECDSA on P-256, " +
	"P-384 or P-521, and RSA of 2048 bits or more")

// PublicKey returns a public key as a line of authorized_keys, and its fingerprint, "SHA256:...".
// It fails with [ErrKey] for a key with which [SignWith] fails.
func PublicKey(key crypto.PublicKey) (line, fingerprint string, err error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return "", "", ErrKey
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return "", "", ErrKey
		}
	default:
		return "", "", ErrKey
	}
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		return "", "", fmt.Errorf("%w (%w)", ErrKey, err)
	}
	return authorizedKey(public), sshFingerprint(public), nil
}

// SignWith signs a record with a key that need not be in this process, as with one in an HSM. The
// signature has the form of a holder's with an SSH key: RSA signs SHA-512 by PKCS #1 v1.5, ECDSA
// the hash of its curve's size.
func SignWith(h transcript.Head, name string, key crypto.Signer, at time.Time) (transcript.CoSignature, error) {
	if _, _, err := PublicKey(key.Public()); err != nil {
		return transcript.CoSignature{}, err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return transcript.CoSignature{}, fmt.Errorf("%w (%w)", ErrKey, err)
	}
	signature, err := armorSSH(Statement(h), signer)
	if err != nil {
		return transcript.CoSignature{}, err
	}
	return New(h, name, signature, "", at)
}
