package xks

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Limits of the specification, in bytes.
const (
	maxPlaintext = 4300 + 4096 // AWS sends at most 4300; more is refused as unsupported
	maxAAD       = 8192
	maxMetadata  = 20
	tagSize      = 16
)

// fullAAD is what a ciphertext authenticates:
//
//	length  u16   of the caller's additional authenticated data
//	aad           of the caller, may be empty
//	length  u8    of the metadata
//	metadata      may be empty
//
// Numbers are big-endian. See the specification, "Encrypt".
func fullAAD(aad, metadata []byte) []byte {
	b := make([]byte, 0, 3+len(aad)+len(metadata))
	b = binary.BigEndian.AppendUint16(b, uint16(len(aad)))
	b = append(b, aad...)
	b = append(b, byte(len(metadata)))
	return append(b, metadata...)
}

// hashedAAD is the form of AWS's sample proxy, for ciphertexts made by it: the SHA-256 of the
// caller's data stands in its place, behind its own length.
func hashedAAD(aad, metadata []byte) []byte {
	sum := sha256.Sum256(aad)
	b := make([]byte, 0, 3+len(sum)+len(metadata))
	b = binary.BigEndian.AppendUint16(b, uint16(len(aad)))
	b = append(b, sum[:]...)
	b = append(b, byte(len(metadata)))
	return append(b, metadata...)
}

// integrity is the SHA-256 over the raw bytes that are sent, without lengths.
func integrity(aad, metadata, iv, ciphertext, tag []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{aad, metadata, iv, ciphertext, tag} {
		write(h, part)
	}
	return h.Sum(nil)
}

func write(h hash.Hash, b []byte) { _, _ = h.Write(b) } // a hash never fails

// Metadata is the ciphertextMetadata of this proxy. It names the key version, so that a key rotates
// without AWS noticing:
//
//	format       u8         1
//	version      uvarint    of the key, from 1
//	fingerprint  8 bytes    of the version's key
//
// At most 14 bytes; the specification allows 20.
type Metadata struct {
	Version     uint32
	Fingerprint [8]byte
}

const metadataFormat = 1

// Marshal returns the stored form.
func (m Metadata) Marshal() []byte {
	b := binary.AppendUvarint([]byte{metadataFormat}, uint64(m.Version))
	return append(b, m.Fingerprint[:]...)
}

// ParseMetadata reads the stored form. Every byte counts: there is one encoding of a value.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	if len(b) < 1 || b[0] != metadataFormat {
		return m, fmt.Errorf("xks: ciphertext metadata is not of format %d", metadataFormat)
	}
	version, n := binary.Uvarint(b[1:])
	if n <= 0 || version == 0 || version > 1<<32-1 || len(b) != 1+n+len(m.Fingerprint) {
		return m, fmt.Errorf("xks: ciphertext metadata of %d bytes is malformed", len(b))
	}
	m.Version = uint32(version)
	copy(m.Fingerprint[:], b[1+n:])
	if string(m.Marshal()) != string(b) {
		return Metadata{}, fmt.Errorf("xks: ciphertext metadata is not in its shortest form")
	}
	return m, nil
}
