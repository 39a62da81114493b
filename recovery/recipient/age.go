package recipient

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"filippo.io/age"
)

const hybridPrefix = "age1pq1"

func newAge(text string) (*Recipient, error) {
	var to age.Recipient
	var err error
	if strings.HasPrefix(text, hybridPrefix) {
		to, err = age.ParseHybridRecipient(text)
	} else {
		to, err = age.ParseX25519Recipient(text)
	}
	if err != nil {
		return nil, ErrAge // the library's error quotes the text
	}
	return &Recipient{
		kind: Age, fingerprint: ageFingerprint(text), compact: text,
		seal: func(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, to) },
	}, nil
}

func ageFingerprint(text string) string {
	if !strings.HasPrefix(text, hybridPrefix) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}
