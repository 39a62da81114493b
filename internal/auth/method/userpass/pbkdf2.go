package userpass

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealgate/sealgate/internal/fips"
)

const (
	pbkdf2Prefix = "$pbkdf2-sha256$"
	rounds       = 600_000 // OWASP's for HMAC-SHA-256; SP 800-132 asks for as many as users bear
	mostRounds   = 10_000_000
	saltLen      = 16

	longestPBKDF2 = 1024 // bytes of a password: HMAC hashes longer ones first
)

// newPBKDF2 hashes a password by PBKDF2 with HMAC-SHA-256 (SP 800-132).
func newPBKDF2(password string) ([]byte, error) {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt)
	sum, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return nil, err
	}
	e := base64.RawStdEncoding
	return fmt.Appendf(nil, "%s%d$%s$%s", pbkdf2Prefix, rounds, e.EncodeToString(salt), e.EncodeToString(sum)), nil
}

// matches reports whether a password has a hash. Every refusal costs as much as a hash of the kind
// that is made now, so that unknown names and passwords of the other kind cannot be told apart.
func matches(hash []byte, password string) bool {
	if text, ok := strings.CutPrefix(string(hash), pbkdf2Prefix); ok {
		return matchesPBKDF2(text, password)
	}
	if !fips.Required() {
		return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && len(password) <= maxPassword
	}
	if len(password) <= longestPBKDF2 {
		_, _ = pbkdf2.Key(sha256.New, password, make([]byte, saltLen), rounds, sha256.Size)
	}
	return false
}

func matchesPBKDF2(text, password string) bool {
	parts := strings.Split(text, "$")
	if len(parts) != 3 || len(password) > longestPBKDF2 {
		return false
	}
	n, err1 := strconv.Atoi(parts[0])
	salt, err2 := base64.RawStdEncoding.DecodeString(parts[1])
	want, err3 := base64.RawStdEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || n < 1 || n > mostRounds || len(salt) != saltLen ||
		len(want) != sha256.Size {
		return false
	}
	sum, err := pbkdf2.Key(sha256.New, password, salt, n, sha256.Size)
	return err == nil && subtle.ConstantTimeCompare(sum, want) == 1
}
