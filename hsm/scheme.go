package hsm

import (
	"bytes"
	"crypto"
	"crypto/rand"
	_ "crypto/sha1" // the only OAEP hash of SoftHSM
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// scheme is a mechanism with the parameters that make it authenticate.
type scheme struct {
	mechanism uint
	mac       uint // of CKM_AES_CBC_PAD
	hash      uint // of CKM_RSA_PKCS_OAEP
}

func (s scheme) String() string {
	switch s.mechanism {
	case ck.MechAESCBCPad:
		return MechanismName(s.mechanism) + " with " + MechanismName(s.mac)
	case ck.MechRSAOAEP:
		return MechanismName(s.mechanism) + " with " + MechanismName(s.hash)
	}
	return MechanismName(s.mechanism)
}

// macSize is the length of each supported HMAC.
var macSize = map[uint]int{ck.MechSHA256HMAC: 32, ck.MechSHA384HMAC: 48, ck.MechSHA512HMAC: 64}

// oaepHashes maps each hash for OAEP to its mask generation function.
var oaepHashes = map[uint]struct {
	mgf  uint
	hash crypto.Hash
}{
	ck.MechSHA1:   {ck.MGF1SHA1, crypto.SHA1},
	ck.MechSHA224: {ck.MGF1SHA224, crypto.SHA224},
	ck.MechSHA256: {ck.MGF1SHA256, crypto.SHA256},
	ck.MechSHA384: {ck.MGF1SHA384, crypto.SHA384},
	ck.MechSHA512: {ck.MGF1SHA512, crypto.SHA512},
}

// candidates returns the schemes to try, best first.
func (k *Key) candidates(f *found) []scheme {
	if f.key.kind == ck.KeyRSA {
		hashes := []uint{ck.MechSHA256, ck.MechSHA384, ck.MechSHA512}
		if k.spec.OAEPHash != 0 {
			hashes = []uint{k.spec.OAEPHash}
		}
		var out []scheme
		for _, h := range hashes {
			out = append(out, scheme{mechanism: ck.MechRSAOAEP, hash: h})
		}
		return out
	}
	var out []scheme
	if k.spec.Mechanism != ck.MechAESCBCPad {
		out = append(out, scheme{mechanism: ck.MechAESGCM})
	}
	if f.hmac.handle != 0 && k.spec.Mechanism != ck.MechAESGCM {
		out = append(out, scheme{mechanism: ck.MechAESCBCPad, mac: k.spec.HMACMechanism})
	}
	return out
}

// errSHA1 says how to select SHA-1.
var errSHA1 = errors.New("the token supports RSA-OAEP with SHA-1 only, which must be selected by name " +
	"(rsa_oaep_hash = \"sha1\")")

// proven returns the scheme that a round trip has proven. The first use tries the candidates.
// Concurrent calls may do so at the same time: with a lock they would wait for a call that hangs.
// SHA-1 must be selected by name; legacy allows it for a ciphertext that was made with it.
func (k *Key) proven(c *call, f *found, legacy bool) (scheme, error) {
	if s := k.scheme.Load(); s != nil {
		return *s, nil
	}
	var refusals []error
	for _, s := range k.candidates(f) {
		err := k.probe(c, f, s)
		if err == nil {
			if k.scheme.CompareAndSwap(nil, &s) {
				k.announce(s)
			}
			return s, nil
		}
		if kindOf(err) != kindMechanism {
			return scheme{}, fmt.Errorf("trying %s: %w", s, err)
		}
		refusals = append(refusals, fmt.Errorf("%s: %w", s, err))
	}
	sha1 := scheme{mechanism: ck.MechRSAOAEP, hash: ck.MechSHA1}
	if f.key.kind == ck.KeyRSA && k.spec.OAEPHash == 0 && k.probe(c, f, sha1) == nil {
		if legacy {
			k.sha1.Do(func() {
				k.t.cfg.Log.Warn("a ciphertext was made by RSA-OAEP with SHA-1, which must be selected by name now: "+
					"set rsa_oaep_hash = \"sha1\", or use an AES key", "key", k.spec.Label)
			})
			return sha1, nil
		}
		return scheme{}, fmt.Errorf("%w: the key with %s: %w", ErrMechanism, nameOf(k.spec.Label, k.spec.ID), errSHA1)
	}
	return scheme{}, fmt.Errorf("%w: the key with %s: %w", ErrMechanism, nameOf(k.spec.Label, k.spec.ID),
		errors.Join(refusals...))
}

func (k *Key) announce(s scheme) {
	k.t.cfg.Log.Debug("the HSM key passed a round trip", "key", k.spec.Label, "mechanism", s.String())
}

// probe asks the token for the scheme's mechanisms, then runs a round trip.
func (k *Key) probe(c *call, f *found, s scheme) error {
	if p, ok := c.session.(ck.Prober); ok {
		needs := map[uint]uint{s.mechanism: ck.FlagEncrypt | ck.FlagDecrypt}
		if s.mechanism == ck.MechRSAOAEP {
			needs[s.mechanism] = ck.FlagDecrypt
		}
		if s.mac != 0 {
			needs[s.mac] = ck.FlagSign
		}
		for m, flags := range needs {
			switch has, err := p.Mechanism(m); {
			case err != nil:
				return err
			case has&flags != flags:
				return ck.MechanismInvalid
			}
		}
	}
	err := k.roundTrip(c, f, s)
	if err != nil && kindOf(err) == kindMechanism {
		return fmt.Errorf("the token lists the mechanism and refuses it: %w", err)
	}
	return err
}

// roundTrip encrypts random bytes and decrypts them.
func (k *Key) roundTrip(c *call, f *found, s scheme) error {
	plain, aad := make([]byte, 32), make([]byte, 16)
	_, _ = rand.Read(plain)
	_, _ = rand.Read(aad)
	sealed, err := k.seal(c, f, s, plain, aad)
	if err != nil {
		return err
	}
	back, err := k.open(c, f, sealed, aad)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, plain) {
		return fmt.Errorf("%w: the round trip returned other bytes", ck.FunctionFailed)
	}
	return nil
}
