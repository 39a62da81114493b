package api

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// requestID is a random UUID (version 4). It is unique, and need not be secret. Most requests never
// show theirs, so it is text only then.
type requestID [16]byte

func newRequestID() (id requestID) {
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// AppendText implements [encoding.TextAppender].
func (id requestID) AppendText(b []byte) ([]byte, error) {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:]), nil
}

func (id requestID) String() string {
	var text [36]byte
	b, _ := id.AppendText(text[:0]) // it always succeeds
	return string(b)
}

// ID returns the request's UUID.
func (q *Request) ID() string { return q.id.String() }

// NewUUID returns a random UUID (version 4) that is unique and not secret.
func NewUUID() string { return newRequestID().String() }
