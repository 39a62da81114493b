// Package uuid makes random identifiers: version 4 UUIDs of RFC 9562, from a reader that the caller
// passes in. They are unique, and secret only as far as the reader is.
package uuid

import (
	"crypto/rand"
	"fmt"
	"io"
)

// Bytes returns a UUID of bytes read from rnd, or from crypto/rand where rnd is nil.
func Bytes(rnd io.Reader) (id [16]byte, err error) {
	if rnd == nil {
		rnd = rand.Reader
	}
	if _, err := io.ReadFull(rnd, id[:]); err != nil {
		return [16]byte{}, fmt.Errorf("uuid: reading random bytes: %w", err)
	}
	return Of(id), nil
}

// Of turns 16 random bytes into a UUID, by setting its version and variant.
func Of(id [16]byte) [16]byte {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// New returns the text of a UUID of bytes read from rnd, or from crypto/rand where rnd is nil.
func New(rnd io.Reader) (string, error) {
	id, err := Bytes(rnd)
	if err != nil {
		return "", err
	}
	return Text(id), nil
}

// Text returns the usual text of a UUID: 36 characters, lower case.
func Text(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// Valid reports whether s is the text that [Text] returns for some UUID, of any version.
func Valid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
