package kmip

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// item is one element of KMIP's TTLV encoding (KMIP 1.4, section 9.1):
//
//	tag    3 bytes
//	type   1 byte
//	length 4 bytes     of the value without its padding
//	value              padded with zeros to a multiple of 8 bytes; for a structure, items
type item struct {
	tag   uint32
	kind  uint8
	value []byte // of a primitive
	items []item // of a structure
}

// Types of items.
const (
	kindStructure = 0x01
	kindInteger   = 0x02
	kindLong      = 0x03
	kindBig       = 0x04
	kindEnum      = 0x05
	kindBool      = 0x06
	kindText      = 0x07
	kindBytes     = 0x08
	kindDateTime  = 0x09
	kindInterval  = 0x0a
)

// Bounds of a message.
const (
	maxMessage = 1 << 20
	maxDepth   = 16
	maxItems   = 4096
	headLen    = 8
)

var errTTLV = errors.New("the answer is not a KMIP message")

// sizes are the lengths of primitives that have one.
var sizes = map[uint8]int{kindInteger: 4, kindLong: 8, kindEnum: 4, kindBool: 8, kindDateTime: 8, kindInterval: 4}

func structure(tag uint32, items ...item) item {
	return item{tag: tag, kind: kindStructure, items: items}
}

func number(kind uint8, tag, v uint32) item {
	return item{tag: tag, kind: kind, value: binary.BigEndian.AppendUint32(nil, v)}
}

func integer(tag, v uint32) item              { return number(kindInteger, tag, v) }
func enum(tag, v uint32) item                 { return number(kindEnum, tag, v) }
func text(tag uint32, v string) item          { return item{tag: tag, kind: kindText, value: []byte(v)} }
func octets(tag uint32, v []byte) item        { return item{tag: tag, kind: kindBytes, value: v} }
func padding(n int) int                       { return -n & 7 }
func (i item) is(tag uint32, kind uint8) bool { return i.tag == tag && i.kind == kind }

// append encodes an item.
func (i item) append(b []byte) []byte {
	at := len(b)
	b = append(b, byte(i.tag>>16), byte(i.tag>>8), byte(i.tag), i.kind, 0, 0, 0, 0)
	if i.kind == kindStructure {
		for _, sub := range i.items {
			b = sub.append(b)
		}
	} else {
		b = append(b, i.value...)
	}
	n := len(b) - at - headLen
	binary.BigEndian.PutUint32(b[at+4:], uint32(n))
	return append(b, make([]byte, padding(n))...)
}

// length reads the length of a message from its first 8 bytes.
func length(head []byte) (int, error) {
	n := int64(binary.BigEndian.Uint32(head[4:]))
	if head[3] != kindStructure || n%8 != 0 || n > maxMessage {
		return 0, fmt.Errorf("%w: it starts with %x", errTTLV, head)
	}
	return int(n), nil
}

// decode decodes exactly one item.
func decode(b []byte) (item, error) {
	left := maxItems
	i, rest, err := decodeItem(b, 0, &left)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes follow it", errTTLV, len(rest))
	}
	return i, err
}

func decodeItem(b []byte, depth int, left *int) (i item, rest []byte, err error) {
	if *left--; len(b) < headLen || depth > maxDepth || *left < 0 {
		return item{}, nil, fmt.Errorf("%w: truncated, or nested too deeply", errTTLV)
	}
	i = item{tag: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), kind: b[3]}
	n := int64(binary.BigEndian.Uint32(b[4:]))
	b = b[headLen:]
	if n > maxMessage || n+int64(padding(int(n))) > int64(len(b)) {
		return item{}, nil, fmt.Errorf("%w: a length of %d with %d bytes left", errTTLV, n, len(b))
	}
	value, tail := b[:n], b[n:n+int64(padding(int(n)))]
	rest = b[len(value)+len(tail):]
	for _, c := range tail {
		if c != 0 {
			return item{}, nil, fmt.Errorf("%w: padding that is not zero", errTTLV)
		}
	}
	switch size, fixed := sizes[i.kind]; {
	case i.kind == 0 || i.kind > kindInterval, fixed && int(n) != size, i.kind == kindBig && n%8 != 0,
		i.kind == kindStructure && n%8 != 0:
		return item{}, nil, fmt.Errorf("%w: type %d with %d bytes", errTTLV, i.kind, n)
	case i.kind != kindStructure:
		i.value = value
		return i, rest, nil
	}
	for len(value) > 0 {
		var sub item
		if sub, value, err = decodeItem(value, depth+1, left); err != nil {
			return item{}, nil, err
		}
		i.items = append(i.items, sub)
	}
	return i, rest, nil
}

// find returns the first sub-item with the tag, or one of no type.
func (i item) find(tag uint32) item {
	for _, sub := range i.items {
		if sub.tag == tag {
			return sub
		}
	}
	return item{}
}

// number returns an integer or enumeration; ok is false for any other item.
func (i item) number() (v uint32, ok bool) {
	if i.kind != kindInteger && i.kind != kindEnum {
		return 0, false
	}
	return binary.BigEndian.Uint32(i.value), true
}

// text returns a text, "" for any other item.
func (i item) text() string {
	if i.kind != kindText {
		return ""
	}
	return string(i.value)
}

// octets returns a byte string, nil for any other item.
func (i item) octets() []byte {
	if i.kind != kindBytes {
		return nil
	}
	return i.value
}
