package recipient

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/recovery/internal/pgpbound"
)

// newPGP checks a binary key as of now. A later expiry does not stop a ceremony that accepted it.
func newPGP(raw []byte, now time.Time) (*Recipient, error) {
	e, err := readEntity(raw)
	if err != nil {
		return nil, err
	}
	if err := pgpbound.Check(e); err != nil { // before a signature is checked
		return nil, fmt.Errorf("%w: %w", ErrCannotEncrypt, err)
	}
	if e.PrimaryKey.CreationTime.After(now) {
		return nil, fmt.Errorf("%w: it was created at %s, and it is now %s", ErrExpired,
			e.PrimaryKey.CreationTime.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	config := &packet.Config{
		Time:          func() time.Time { return now },
		DefaultCipher: packet.CipherAES256,
		MinRSABits:    2048,
	}
	chosen, err := e.EncryptionKeyWithError(now, config)
	if err != nil {
		return nil, explain(err)
	}
	if !approvedPGP[chosen.PublicKey.PubKeyAlgo] || !approvedCurve(chosen.PublicKey) {
		if err := fips.Refuse("the encryption key of this PGP key", "a PGP key with RSA or a NIST curve"); err != nil {
			return nil, err
		}
	}
	small, err := compact(e, chosen, now, config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParse, err)
	}
	return &Recipient{
		kind: PGP, fingerprint: pgpFingerprint(e), compact: string(small),
		seal: func(w io.Writer) (io.WriteCloser, error) {
			return openpgp.EncryptWithParams(w, []*openpgp.Entity{e}, nil, &openpgp.EncryptParams{Config: config})
		},
	}, nil
}

// approvedPGP are the algorithms of encryption keys that FIPS 140-3 approves.
var approvedPGP = map[packet.PublicKeyAlgorithm]bool{
	packet.PubKeyAlgoRSA: true, packet.PubKeyAlgoRSAEncryptOnly: true, packet.PubKeyAlgoECDH: true,
}

// approvedCurve reports whether an ECDH key is on a curve of NIST; true for other algorithms.
func approvedCurve(k *packet.PublicKey) bool {
	if k.PubKeyAlgo != packet.PubKeyAlgoECDH {
		return true
	}
	c, err := k.Curve()
	return err == nil && (c == packet.CurveNistP256 || c == packet.CurveNistP384 || c == packet.CurveNistP521)
}

// readEntity reads exactly one public key and checks no signature.
func readEntity(raw []byte) (*openpgp.Entity, error) {
	if len(raw) == 0 || raw[0]&0x80 == 0 {
		return nil, ErrDecode
	}
	packets := packet.NewReader(bytes.NewReader(raw))
	e, err := openpgp.ReadEntity(packets)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrParse, err)
	}
	if e.PrivateKey != nil {
		return nil, ErrPrivate
	}
	for _, s := range e.Subkeys {
		if s.PrivateKey != nil {
			return nil, ErrPrivate
		}
	}
	switch p, err := packets.Next(); {
	case errors.Is(err, io.EOF):
		return e, nil
	case err != nil:
		return nil, fmt.Errorf("%w (%w)", ErrParse, err)
	default:
		if _, private := p.(*packet.PrivateKey); private {
			return nil, ErrPrivate
		}
		return nil, ErrSeveral
	}
}

func pgpFingerprint(e *openpgp.Entity) string { return hex.EncodeToString(e.PrimaryKey.Fingerprint) }

// explain returns this package's error for a key without a usable encryption part.
func explain(err error) error {
	cause := err
	var value pgperrors.ErrEncryptionKeySelection
	var pointer *pgperrors.ErrEncryptionKeySelection
	if errors.As(err, &pointer) {
		value = *pointer
	} else {
		errors.As(err, &value)
	}
	part := "it"
	switch {
	case value.PrimaryKeyErr != nil:
		cause = value.PrimaryKeyErr
	case value.EncSelectionErr != nil:
		cause = value.EncSelectionErr
		if value.EncSelectionKeyId != nil {
			part = "its subkey " + *value.EncSelectionKeyId
		}
	}
	switch {
	case errors.Is(cause, pgperrors.ErrKeyExpired):
		return fmt.Errorf("%w (%s)", ErrExpired, part)
	case errors.Is(cause, pgperrors.ErrKeyRevoked):
		return fmt.Errorf("%w (%s)", ErrRevoked, part)
	}
	return fmt.Errorf("%w: %w", ErrCannotEncrypt, cause)
}

// compact serialises what encryption needs: the primary key, its revocations and direct signatures,
// the primary name with its own signatures, and the chosen subkey.
func compact(e *openpgp.Entity, chosen openpgp.Key, now time.Time, config *packet.Config) ([]byte, error) {
	small := *e
	small.Identities, small.Subkeys = map[string]*openpgp.Identity{}, nil
	if _, id := e.PrimaryIdentity(now, config); id != nil {
		bare := *id
		bare.OtherCertifications = nil
		small.Identities[bare.Name] = &bare
	}
	for _, s := range e.Subkeys {
		if s.PublicKey == chosen.PublicKey {
			small.Subkeys = []openpgp.Subkey{s}
		}
	}
	var b bytes.Buffer
	err := small.Serialize(&b)
	return b.Bytes(), err
}
