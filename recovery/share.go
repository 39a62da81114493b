package recovery

import (
	"encoding/base64"
	"encoding/hex"

	"github.com/sealgate/sealgate/internal/secret"
)

// maxShareText bounds what is decoded at all: the longest share is 66 digits, and whoever sends more gets no memory for it.
const maxShareText = 1024

// ParseShare reads a share as Vault does: hexadecimal where it decodes as that, else standard base64 with
// padding; 16 to 33 bytes. The errors are [ErrShareEncoding] and [ErrShareLength], and contain nothing of the text.
func ParseShare(text string) (*secret.Bytes, error) {
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

func checkShareLength(s *secret.Bytes) error {
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
