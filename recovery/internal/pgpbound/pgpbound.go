// Package pgpbound bounds what is computed with a foreign PGP key before anything of it is known to
// be genuine.
//
// A key says how long its numbers are, and how many signatures are to be checked: one of 100 kB can
// ask for hours. It guarantees that [Check] computes nothing, and that what follows takes a few
// seconds at most.
package pgpbound

import (
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

const (
	maxRSABits    = 8192
	maxSignatures = 256
)

// Check refuses a key with too much work in it. It drops subkeys that are never used: of ElGamal
// and DSA, which are obsolete, and too large ones.
func Check(e *openpgp.Entity) error {
	if err := checkKey(e.PrimaryKey); err != nil {
		return err
	}
	n := len(e.Revocations) + len(e.DirectSignatures)
	for _, id := range e.Identities {
		n += len(id.SelfCertifications) + len(id.Revocations)
	}
	kept := make([]openpgp.Subkey, 0, len(e.Subkeys))
	for _, s := range e.Subkeys {
		if checkKey(s.PublicKey) == nil {
			kept = append(kept, s)
			n += len(s.Bindings) + len(s.Revocations)
		}
	}
	if e.Subkeys = kept; n > maxSignatures {
		return fmt.Errorf("it has %d signatures of its own, and at most %d are checked: export it with "+
			"gpg --export-options export-clean", n, maxSignatures)
	}
	return nil
}

func checkKey(k *packet.PublicKey) error {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return fmt.Errorf("DSA and ElGamal are too weak: use RSA or an elliptic curve")
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
		if bits, err := k.BitLength(); err != nil || bits > maxRSABits {
			return fmt.Errorf("it is an RSA key of %d bits, and at most %d are accepted", bits, maxRSABits)
		}
	}
	return nil
}
