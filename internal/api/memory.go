package api

import (
	"io"

	"github.com/sealgate/sealgate/internal/fault"
)

// A byte of a body takes some more of memory until the request is answered: the body itself, what
// is decoded from it, what is encoded and encrypted for the storage, and what the collector has not
// yet found. Measured with writes of kv by many clients.
const perByte = 6

// smallRequest is the largest body for which room is kept when large ones fill the rest.
const smallRequest = 16 << 10

// reserve takes room for n more bytes of a body, or refuses the request. What keeps a server
// running is never refused: health, the state of the seal, unsealing, and shares of ceremonies.
func (q *Request) reserve(n int64) error {
	return q.reserveMemory(n * perByte)
}

// reserveMemory is reserve for memory, whatever of the body it is for.
func (q *Request) reserveMemory(n int64) error {
	if n <= 0 || q.memory == nil || q.Route.Access == AlwaysOpen || q.Route.Shares {
		return nil
	}
	if q.memory.Take(n, q.reserved+n <= smallRequest*perByte) {
		q.reserved += n
		return nil
	}
	q.Out.Header().Set("Retry-After", "1")
	q.Out.Header().Set("Connection", "close") // the rest of the body is not read
	return fault.New(fault.Limited, "the server has no memory left for a request of this size while others are answered: "+
		"try again, or raise the server's memory limit")
}

// release gives back what the request has reserved.
func (q *Request) release() {
	if q.reserved > 0 {
		q.memory.Return(q.reserved)
		q.reserved = 0
	}
}

// readUpTo reads a body of at most limit bytes, and one more if it is longer. Memory is reserved as
// the bytes come: a client that announces a long body and sends nothing keeps nobody out.
func (q *Request) readUpTo(limit int64) ([]byte, error) {
	want := limit + 1
	if n := q.HTTP.ContentLength; n >= 0 {
		want = min(want, n)
	}
	var buf []byte
	for {
		if len(buf) == cap(buf) {
			if int64(len(buf)) >= want {
				return buf, nil
			}
			grown := min(max(4<<10, 2*int64(len(buf))), want)
			if err := q.reserve(grown - int64(len(buf))); err != nil {
				return buf, err
			}
			next := make([]byte, len(buf), grown)
			copy(next, buf)
			clear(buf)
			buf = next
		}
		n, err := q.HTTP.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			if int64(len(buf)) < q.HTTP.ContentLength && int64(len(buf)) < want {
				err = io.ErrUnexpectedEOF
			} else {
				err = nil
			}
			return buf, err
		}
		if err != nil {
			return buf, err
		}
	}
}

// errRead is the error of a body that ended early, unless the request was refused.
func errRead(err error) error {
	if fault.Is(err, fault.Limited) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "the body could not be read: it ended early, or came too slowly")
}
