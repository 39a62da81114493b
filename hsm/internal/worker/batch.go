//go:build !windows

package worker

import (
	"io"
	"sync"
)

// batch collects frames and writes them together. Written bytes are wiped: frames carry plaintext.
type batch struct {
	w io.Writer

	mu      sync.Mutex
	buf     encoder // frames to write
	spare   []byte  // the buffer of the write before
	writing bool
	err     error
}

// add appends a frame, which the next flush writes.
func (b *batch) add(call uint32, code uint8, body func(*encoder)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.buf.begin(call, code)
	if body != nil {
		body(&b.buf)
	}
	b.buf.end(at)
}

// flush writes all frames. If another caller writes, that caller writes them too.
func (b *batch) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writing {
		return b.err
	}
	b.writing = true
	for len(b.buf.b) > 0 && b.err == nil {
		out := b.buf.b
		b.buf.b, b.spare = b.spare[:0], nil
		b.mu.Unlock()
		_, err := b.w.Write(out)
		clear(out)
		b.mu.Lock()
		b.spare, b.err = out[:0], err
	}
	b.writing = false
	return b.err
}

// raw appends a whole frame.
func (b *batch) raw(frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.b = append(b.buf.b, frame...)
}
