package recovery

import (
	"encoding/base64"
	"encoding/hex"

	"github.com/sealgate/sealgate/internal/secret"
)

// Secret is a key or a share: it refuses to print or marshal, compares in constant time and can be
// destroyed.
type Secret = secret.Bytes

// NewSecret returns a secret of a copy of b, which stays the caller's.
func NewSecret(b []byte) *Secret { return secret.Copy(b) }

// maxShareText bounds what is decoded. The longest share has 66 digits.
const maxShareText = 1024

// ParseShare decodes a share as Vault does: as hexadecimal if possible, else as standard base64
// with padding. A share has 16 to 33 bytes. The errors are [ErrShareEncoding] and [ErrShareLength],
// and contain nothing of the text.
func ParseShare(text string) (*Secret, error) {
	if len(text) > maxShareText {
		return nil, tooLong()
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		clear(b)
		if b, err = base64.StdEncoding.DecodeString(text); err != nil {
			clear(b)
			return nil, ErrShareEncoding
		}
	}
	s := secret.New(b)
	if err := checkShareLength(s); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

func checkShareLength(s *Secret) error {
	switch {
	case s.Len() < minShareLen:
		return &worded{"key is shorter than minimum 16 bytes", ErrShareLength}
	case s.Len() > maxShareLen:
		return tooLong()
	}
	return nil
}

func tooLong() error {
	return &worded{"key is longer than maximum 33 bytes", ErrShareLength}
}
