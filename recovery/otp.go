package recovery

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// MaxOTP is the length of the longest one-time password, and of the longest token to encode, in
// bytes.
const MaxOTP = 128

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewOTP returns a one-time password of n uniformly distributed base62 characters. Randomness comes
// from rnd, or from crypto/rand if rnd is nil.
func NewOTP(n int, rnd io.Reader) (string, error) {
	if n < 1 || n > MaxOTP {
		return "", ErrOTPLength
	}
	if rnd == nil {
		rnd = rand.Reader
	}
	const fair = 256 / len(base62) * len(base62) // higher bytes would favour the first characters
	otp, buf := make([]byte, 0, n), make([]byte, n)
	defer clear(otp[:cap(otp)])
	defer clear(buf)
	for len(otp) < n {
		if _, err := io.ReadFull(rnd, buf); err != nil {
			return "", fmt.Errorf("generating a one-time password: %w", err)
		}
		for _, b := range buf {
			if int(b) < fair && len(otp) < n {
				otp = append(otp, base62[int(b)%len(base62)])
			}
		}
	}
	return string(otp), nil
}

// CheckOTP returns [ErrOTPLength] unless the one-time password is as long as a token of length
// bytes.
func CheckOTP(otp string, length int) error {
	if otp == "" || len(otp) != length || len(otp) > MaxOTP {
		return ErrOTPLength
	}
	return nil
}

// EncodeToken returns the token XOR the one-time password, in standard base64 without padding. One
// of the two alone reveals the token's length. A password may be used once: two tokens under one
// password reveal their difference.
func EncodeToken(token, otp string) (string, error) {
	if err := CheckOTP(otp, len(token)); err != nil {
		return "", err
	}
	b := []byte(token)
	defer clear(b)
	subtle.XORBytes(b, b, []byte(otp))
	return base64.RawStdEncoding.EncodeToString(b), nil
}

// DecodeToken is the inverse of [EncodeToken] and accepts padding. The errors are
// [ErrTokenEncoding] and [ErrOTPLength], and contain nothing of the token. A wrong password of the
// right length is not detected: the result is another text.
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
