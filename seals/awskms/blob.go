package awskms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// mechanism is the version of the blob format: an envelope, AES-256-GCM with a data key.
const mechanism = 1

// Bounds of a blob. AWS limits a ciphertext to 6144 bytes.
const (
	maxPlain   = 60 << 10
	maxWrapped = 6144
	dataKeyLen = 32
	ivLen      = 12
	tagLen     = 16
)

// Causes of refused blobs and secrets.
var (
	errNoBlob  = errors.New("the blob does not have this seal's format")
	errDamaged = errors.New("the blob is damaged: its checksum is wrong")
	errUnbound = errors.New("the blob does not authenticate: " +
		"it is damaged, or was wrapped for another cluster, seal or generation")
	errTooLong = errors.New("the secret is longer than 60 KiB")
)

// seal makes a blob:
//
//	Ciphertext          AES-256-GCM of the secret, followed by the tag
//	Iv                  12 bytes
//	Hmac                SHA-256 checksum of the other fields: it detects damage without a request
//	KeyInfo.Mechanism   1
//	KeyInfo.KeyId       the canonical ARN of the key that encrypted the data key
//	KeyInfo.WrappedKey  CiphertextBlob of the KMS: the data key
func seal(dataKey, wrapped []byte, arn string, secret, aad []byte) (*wrapping.BlobInfo, error) {
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, ivLen)
	_, _ = rand.Read(iv) // never fails
	b := &wrapping.BlobInfo{Iv: iv, KeyInfo: &wrapping.KeyInfo{Mechanism: mechanism, KeyId: arn, WrappedKey: wrapped}}
	b.Ciphertext = gcm.Seal(nil, iv, secret, bound(arn, aad))
	b.Hmac = checksum(b)
	return b, nil
}

// open decrypts a blob's secret with its data key.
func open(dataKey []byte, b *wrapping.BlobInfo, aad []byte) ([]byte, error) {
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	secret, err := gcm.Open(nil, b.Iv, b.Ciphertext, bound(b.KeyInfo.KeyId, aad))
	if err != nil {
		return nil, errUnbound
	}
	return secret, nil
}

// intact checks a blob as far as possible without its key.
func intact(b *wrapping.BlobInfo) error {
	k := b.GetKeyInfo()
	if k == nil || k.Mechanism != mechanism || len(b.Iv) != ivLen || len(b.Ciphertext) < tagLen ||
		len(b.Ciphertext) > maxPlain+tagLen ||
		len(k.WrappedKey) == 0 || len(k.WrappedKey) > maxWrapped {
		return errNoBlob
	}
	if subtle.ConstantTimeCompare(b.Hmac, checksum(b)) != 1 {
		return errDamaged
	}
	return nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// bound returns the additional data of the secret: purpose and version, the key's ARN, the caller's
// additional data.
func bound(arn string, aad []byte) []byte {
	out := append([]byte("sealgate/seals/awskms/v1\x00"), binary.BigEndian.AppendUint16(nil, uint16(len(arn)))...)
	return append(append(out, arn...), aad...)
}

// checksum covers every field except Hmac and the key's id: a blob of another key is not reported
// as damaged.
func checksum(b *wrapping.BlobInfo) []byte {
	h := sha256.New()
	h.Write([]byte("sealgate/seals/awskms/checksum/v1\x00"))
	for _, field := range [][]byte{b.Iv, b.Ciphertext, b.KeyInfo.WrappedKey} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field))))
		h.Write(field)
	}
	return h.Sum(nil)
}
