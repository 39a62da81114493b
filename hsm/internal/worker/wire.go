//go:build !windows

package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// operation is the function of a request.
type operation uint8

const (
	opLoad operation = iota + 1
	opInitialize
	opFinalize
	opSlots
	opOpen
	opClose
	opLogin
	opFind
	opCrypt
	opMechanism
	opGenerate
	opAlter
	opDestroy
	opCreate
)

// Statuses of a response.
const (
	statusDone = iota
	statusCKR
	statusText
)

// Kinds of a text error.
const (
	textOther = iota
	textNotLibrary
	textNoCgo
)

const (
	maxFrame  = 20 << 20 // the longest output of an operation is 16 MiB
	head      = 9        // length, call, operation or status
	maxString = 64 << 10
	maxList   = 1 << 16
)

// errProtocol: the child sent what the protocol does not allow.
var errProtocol = errors.New("the HSM worker broke the protocol")

// encoder appends to a frame.
type encoder struct{ b []byte }

func (e *encoder) u8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) uint(v uint)  { e.u64(uint64(v)) }

func (e *encoder) bool(v bool) {
	if v {
		e.u8(1)
	} else {
		e.u8(0)
	}
}

func (e *encoder) bytes(v []byte) {
	e.u32(uint32(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) string(v string) {
	e.u32(uint32(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) attributes(list []ck.Attribute) {
	e.u32(uint32(len(list)))
	for _, a := range list {
		e.uint(a.Type)
		e.bytes(a.Value)
	}
}

// begin reserves a frame's head and returns its position.
func (e *encoder) begin(call uint32, code uint8) int {
	at := len(e.b)
	e.u32(0)
	e.u32(call)
	e.u8(code)
	return at
}

// end sets the length of the frame at a position.
func (e *encoder) end(at int) { binary.LittleEndian.PutUint32(e.b[at:], uint32(len(e.b)-at-4)) }

// decoder reads a frame. After the first impossible field it returns zero values, and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uint() uint { return uint(d.u64()) }

func (d *decoder) bool() bool { return d.u8() != 0 }

// bytes returns a part of the frame, without a copy.
func (d *decoder) bytes() []byte { return d.take(int(d.u32())) }

func (d *decoder) string() string {
	v := d.bytes()
	if len(v) > maxString {
		d.bad = true
		return ""
	}
	return string(v)
}

// count reads the length of a list whose entries take at least size bytes.
func (d *decoder) count(size int) int {
	n := int(d.u32())
	if n > maxList || n*size > len(d.b) {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) attributes() []ck.Attribute {
	n := d.count(12)
	list := make([]ck.Attribute, n)
	for i := range list {
		list[i] = ck.Attribute{Type: d.uint(), Value: d.bytes()}
	}
	return list
}

// done reports whether the frame was read exactly to its end.
func (d *decoder) done() bool { return !d.bad && len(d.b) == 0 }

// readFrame reads one frame.
func readFrame(r io.Reader) (call uint32, code uint8, payload []byte, err error) {
	var h [head]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(h[:])) - (head - 4)
	if n < 0 || n > maxFrame {
		return 0, 0, nil, fmt.Errorf("%w: a frame of %d bytes", errProtocol, n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, 0, nil, err
	}
	return binary.LittleEndian.Uint32(h[4:]), h[8], payload, nil
}

// setup is the first request: what the child loads, and within which limits.
type setup struct {
	lib     string
	network bool
	memory  uint64   // bytes of data, 0: no limit
	paths   []string // nil: no file restrictions
}

func (s setup) encode(e *encoder) {
	e.string(s.lib)
	e.bool(s.network)
	e.u64(s.memory)
	e.u32(uint32(len(s.paths)))
	for _, p := range s.paths {
		e.string(p)
	}
}

func (s *setup) decode(d *decoder) {
	s.lib, s.network, s.memory = d.string(), d.bool(), d.u64()
	for range d.count(4) {
		s.paths = append(s.paths, d.string())
	}
}
