package cosign

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/sealgate/sealgate/recovery/internal/pgpbound"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// readPGP reads exactly one armored public key.
func readPGP(armored string) (*openpgp.Entity, error) {
	list, err := openpgp.ReadArmoredKeyRing(strings.NewReader(armored))
	if err != nil || len(list) != 1 || list[0].PrivateKey != nil {
		return nil, fmt.Errorf("%w: its public key is not one armored PGP public key", ErrSignature)
	}
	if err := pgpbound.Check(list[0]); err != nil {
		return nil, fmt.Errorf("%w: its public key: %w", ErrSignature, err)
	}
	return list[0], nil
}

func pgpFingerprint(e *openpgp.Entity) string { return hex.EncodeToString(e.PrimaryKey.Fingerprint) }

// verifyPGP verifies as of the time at which the server took the signature: a key may expire.
func verifyPGP(statement []byte, s transcript.CoSignature) (string, error) {
	e, err := readPGP(s.PublicKey)
	if err != nil {
		return "", err
	}
	config := &packet.Config{Time: func() time.Time { return s.At }}
	_, _, err = openpgp.VerifyArmoredDetachedSignature(openpgp.EntityList{e}, bytes.NewReader(statement),
		strings.NewReader(s.Signature), config)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return pgpFingerprint(e), nil
}

func signPGP(statement, private []byte, passphrase func() ([]byte, error), at time.Time) (signature, public string,
	err error) {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(private))
	if err != nil || len(list) != 1 || list[0].PrivateKey == nil {
		return "", "", fmt.Errorf("the file is not one armored PGP private key: %w", err)
	}
	e := list[0]
	if e.PrivateKey.Encrypted {
		word, err := passphrase()
		if err != nil {
			return "", "", err
		}
		defer clear(word)
		if err := e.DecryptPrivateKeys(word); err != nil {
			return "", "", fmt.Errorf("the passphrase of the PGP key is wrong: %w", err)
		}
	}
	config := &packet.Config{Time: func() time.Time { return at }}
	var text bytes.Buffer
	if err := armored(&text, "PGP SIGNATURE", func(w *bytes.Buffer) error {
		return openpgp.DetachSign(w, []*openpgp.Entity{e}, bytes.NewReader(statement), config)
	}); err != nil {
		return "", "", err
	}
	signature = text.String()
	text.Reset()
	if err := armored(&text, "PGP PUBLIC KEY BLOCK", func(w *bytes.Buffer) error { return e.Serialize(w) }); err != nil {
		return "", "", err
	}
	return signature, text.String(), nil
}

func armored(out *bytes.Buffer, kind string, write func(*bytes.Buffer) error) error {
	var raw bytes.Buffer
	if err := write(&raw); err != nil {
		return err
	}
	w, err := armor.Encode(out, kind, nil)
	if err != nil {
		return err
	}
	if _, err := w.Write(raw.Bytes()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.WriteByte('\n')
}
