// Package cosign signs records of the transcript, and verifies the signatures of their holders. The
// server signs each record itself; a co-signature says that a person saw it, too, or that a key in
// an HSM or KMS of the server signed it, whose name begins with "device:".
//
// A holder signs the text of [Statement] with an SSH key or a PGP key. Both signatures are of
// formats that other programs make and verify:
//
//	ssh-keygen -Y sign -n sealgate-transcript -f ~/.ssh/id_ed25519 statement
//	gpg --armor --detach-sign statement
//
// An age identity cannot sign: age encrypts alone.
//
// The package guarantees that a signature that [Verify] accepts was made by the key that it names,
// for this record of this chain. It does not say whose key that is: compare the key with one from
// another source ([Signers]).
package cosign

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// Kinds of keys.
const (
	SSH = "ssh"
	PGP = "pgp"
)

// Bounds of a co-signature, in bytes. A record has at most MaxSignatures.
const (
	MaxPublicKey  = 16 << 10
	maxSignature  = 8 << 10
	maxName       = 256
	MaxSignatures = 32
)

// ErrSignature is returned for a signature that does not verify, or is malformed.
var ErrSignature = errors.New("not a valid signature of this record")

// ErrAge is returned for an age identity.
var ErrAge = errors.New("an age identity cannot sign: age encrypts alone; use an SSH key or a PGP key")

// Statement is the text that holders sign for a record. Its hash covers the whole record and all
// records before it.
func Statement(h transcript.Head) []byte {
	return fmt.Appendf(nil, "Sealgate transcript\nrecord %d\nhash %s\n", h.Seq, h.Hash)
}

// New returns a co-signature that another program made. publicKey is needed for PGP alone: an SSH
// signature contains it. It is not verified: see [Verify].
func New(h transcript.Head, name, signature, publicKey string, at time.Time) (transcript.CoSignature, error) {
	s := transcript.CoSignature{Seq: h.Seq, Name: name, Signature: signature, PublicKey: publicKey, At: at.UTC()}
	switch {
	case strings.Contains(signature, "BEGIN SSH SIGNATURE"):
		s.Kind = SSH
		parsed, err := parseSSH(signature)
		if err != nil {
			return s, err
		}
		s.PublicKey = authorizedKey(parsed.key)
	case strings.Contains(signature, "BEGIN PGP SIGNATURE"):
		s.Kind = PGP
		if publicKey == "" {
			return s, fmt.Errorf("%w: a PGP signature needs the public key that verifies it", ErrSignature)
		}
	default:
		return s, fmt.Errorf("%w: it is neither an SSH nor an armored PGP signature", ErrSignature)
	}
	return s, nil
}

// Verify checks a co-signature of the record at a head, and returns the key's fingerprint:
// "SHA256:..." or hexadecimal.
func Verify(h transcript.Head, s transcript.CoSignature) (fingerprint string, err error) {
	if err := check(s); err != nil {
		return "", err
	}
	if s.Seq != h.Seq {
		return "", fmt.Errorf("%w: it is for record %d", ErrSignature, s.Seq)
	}
	if s.Kind == SSH {
		return verifySSH(Statement(h), s)
	}
	return verifyPGP(Statement(h), s)
}

// Fingerprint returns the fingerprint of the key of a co-signature, which is not verified.
func Fingerprint(s transcript.CoSignature) (string, error) {
	if err := check(s); err != nil {
		return "", err
	}
	if s.Kind == PGP {
		e, err := readPGP(s.PublicKey)
		if err != nil {
			return "", err
		}
		return pgpFingerprint(e), nil
	}
	key, err := parseAuthorizedKey(s.PublicKey)
	if err != nil {
		return "", err
	}
	return sshFingerprint(key), nil
}

func check(s transcript.CoSignature) error {
	switch {
	case s.Kind != SSH && s.Kind != PGP:
		return fmt.Errorf("%w: its kind is neither ssh nor pgp", ErrSignature)
	case len(s.PublicKey) > MaxPublicKey:
		return fmt.Errorf("%w: its public key has more than %d bytes: export a smaller one, as with gpg --export-options "+
			"export-minimal", ErrSignature, MaxPublicKey)
	case len(s.Signature) > maxSignature:
		return fmt.Errorf("%w: it has more than %d bytes", ErrSignature, maxSignature)
	case s.Name == "" || len(s.Name) > maxName || !utf8.ValidString(s.Name) ||
		strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: its name is not a printable text of 1 to %d bytes", ErrSignature, maxName)
	}
	return nil
}

// Sign signs a record with a private key: an SSH key in PEM, or an armored PGP key. passphrase is
// asked for an encrypted key.
func Sign(h transcript.Head, name string, private []byte, passphrase func() ([]byte, error), at time.Time) (
	transcript.CoSignature, error) {
	var signature, public string
	var err error
	switch text := string(private); {
	case strings.Contains(text, "AGE-SECRET-KEY-") || strings.Contains(text, "age-encryption.org"):
		return transcript.CoSignature{}, ErrAge
	case strings.Contains(text, "BEGIN PGP PRIVATE KEY BLOCK"):
		signature, public, err = signPGP(Statement(h), private, passphrase, at)
	default:
		signature, err = signSSH(Statement(h), private, passphrase)
	}
	if err != nil {
		return transcript.CoSignature{}, err
	}
	return New(h, name, signature, public, at)
}
