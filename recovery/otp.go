package recovery

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// MaxOTP is the longest one-time password, and the longest token that one encodes, in bytes.
const MaxOTP = 128

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewOTP makes a one-time password of n base62 characters, each as likely as the other. Randomness comes from
// rnd, or from crypto/rand where it is nil.
func NewOTP(n int, rnd io.Reader) (string, error) {
	if n < 1 || n > MaxOTP {
		return "", ErrOTPLength
	}
	if rnd == nil {
		rnd = rand.Reader
	}
	const fair = 256 / len(base62) * len(base62) // bytes from here on would favour the first characters
	otp, buf := make([]byte, 0, n), make([]byte, n)
	defer clear(otp[:cap(otp)])
	defer clear(buf)
	for len(otp) < n {
		if _, err := io.ReadFull(rnd, buf); err != nil {
			return "", fmt.Errorf("making a one-time password: %w", err)
		}
		for _, b := range buf {
			if int(b) < fair && len(otp) < n {
				otp = append(otp, base62[int(b)%len(base62)])
			}
		}
	}
	return string(otp), nil
}

// CheckOTP checks that a one-time password fits a token of length bytes: it has to be exactly as long ([ErrOTPLength]).
func CheckOTP(otp string, length int) error {
	if otp == "" || len(otp) != length || len(otp) > MaxOTP {
		return ErrOTPLength
	}
	return nil
}

// EncodeToken gives the token XOR the one-time password, in standard base64 without padding. Whoever has only one of the
// two learns the token's length. A password may be used once: two tokens under one password give away their difference.
func EncodeToken(token, otp string) (string, error) {
	if err := CheckOTP(otp, len(token)); err != nil {
		return "", err
	}
	b := []byte(token)
	defer clear(b)
	subtle.XORBytes(b, b, []byte(otp))
	return base64.RawStdEncoding.EncodeToString(b), nil
}

// DecodeToken is the inverse of [EncodeToken]; padding is accepted. The errors are [ErrTokenEncoding] and
// [ErrOTPLength], and contain nothing of the token. A wrong password of the right length is not noticed: it gives another text.
func DecodeToken(encoded, otp string) (string, error) {
	encoded = strings.TrimRight(encoded, "=")
	if base64.RawStdEncoding.DecodedLen(len(encoded)) > MaxOTP {
		return "", ErrTokenEncoding
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	defer clear(b)
	if err != nil {
		return "", ErrTokenEncoding
	}
	if err := CheckOTP(otp, len(b)); err != nil {
		return "", err
	}
	subtle.XORBytes(b, b, []byte(otp))
	return string(b), nil
}
