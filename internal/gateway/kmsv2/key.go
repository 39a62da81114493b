package kmsv2

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// Pin is the version of a key that encrypts.
type Pin struct {
	Version int
	KeyID   string
}

// Call is what is known of a call beside its payload. It holds no secret.
type Call struct {
	UID  string // of the API server, for logs
	Peer string // the uid of the process that calls: "0"
}

// Key is the key behind a socket. Errors are [fault.Error]s: Denied, NotFound and Invalid stop the
// API server's writes; the other kinds are outages.
type Key interface {
	// Newest returns the version that new ciphertexts should have.
	Newest(ctx context.Context) (Pin, error)
	// Encrypt returns a ciphertext of transit's form by exactly the pinned version.
	Encrypt(ctx context.Context, c Call, p Pin, plaintext, aad []byte) ([]byte, error)
	// Decrypt opens a ciphertext of transit's form. What does not authenticate is of kind Invalid.
	Decrypt(ctx context.Context, c Call, keyID string, ciphertext, aad []byte) ([]byte, error)
}

// keyIDPrefix marks the key_ids of this recipe.
const keyIDPrefix = "sg2-"

// KeyID returns the public name of a key version: it is equal on all replicas, and no other key has
// it. The fingerprint tells keys apart that were made under the same name:
//
//	"sg2-" + base32, of the first 20 bytes of SHA-256 of
//	"sealgate/kmsv2/key-id" | 0 | cluster u16-length | mount u16-length | key u16-length |
//	version u32 | fingerprint u16-length
func KeyID(cluster, mount, key string, version int, fingerprint []byte) string {
	b := append([]byte("sealgate/kmsv2/key-id"), 0)
	for _, part := range []string{cluster, strings.Trim(mount, "/"), key} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(version))
	b = binary.BigEndian.AppendUint16(b, uint16(len(fingerprint)))
	sum := sha256.Sum256(append(b, fingerprint...))
	return keyIDPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20]))
}

// HashOf returns the hash of a key_id that the API server's metrics show as key_id_hash.
func HashOf(keyID string) string {
	if keyID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(keyID))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// aadOf binds a ciphertext to its key_id: another one in the stored object does not open it.
// Ciphertexts of other plugins have no additional data.
func aadOf(keyID string) []byte {
	if !strings.HasPrefix(keyID, keyIDPrefix) {
		return nil
	}
	return append([]byte("sealgate/kmsv2\x00"), keyID...)
}

const prefix = "vault:v"

// AppendCiphertext appends a ciphertext in transit's form.
func AppendCiphertext(dst []byte, version int, blob []byte) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendInt(dst, int64(version), 10)
	dst = append(dst, ':')
	return base64.StdEncoding.AppendEncode(dst, blob)
}

var errCiphertext = fault.New(fault.Invalid,
	"the ciphertext is not of this plugin: it does not have the form vault:v1:...")

// SplitCiphertext reads transit's form. There is one spelling of each ciphertext.
func SplitCiphertext(text []byte) (version int, blob []byte, err error) {
	rest, ok := strings.CutPrefix(string(text), prefix)
	number, encoded, found := strings.Cut(rest, ":")
	version, failed := strconv.Atoi(number)
	if !ok || !found || failed != nil || version < 1 || strconv.Itoa(version) != number {
		return 0, nil, errCiphertext
	}
	if blob, err = base64.StdEncoding.Strict().DecodeString(encoded); err != nil {
		return 0, nil, errCiphertext
	}
	return version, blob, nil
}
