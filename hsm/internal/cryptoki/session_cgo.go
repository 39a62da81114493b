//go:build cgo && !windows

package cryptoki

// #include "library.h"
import "C"

import (
	"errors"
	"unsafe"
)

// session is a Session of a binding.
type session struct {
	b    *binding
	slot uint
	h    C.sg_ulong
}

func (s *session) Close() error { return result(C.sg_close(s.b.list, s.h)) }

func (s *session) Login(user uint, pin []byte) error {
	return result(C.sg_login(s.b.list, s.h, C.sg_ulong(user), first(pin), C.sg_ulong(len(pin))))
}

func (s *session) Mechanism(m uint) (uint, error) {
	var flags C.sg_ulong
	err := result(C.sg_mechanism_flags(s.b.list, C.sg_ulong(s.slot), C.sg_ulong(m), &flags))
	return uint(flags), err
}

// flat is a template as it crosses to C: no pointers inside.
type flat struct {
	types, lengths []C.sg_ulong
	values         []byte
}

func flatten(lists ...[]Attribute) flat {
	var f flat
	for _, list := range lists {
		for _, a := range list {
			f.types = append(f.types, C.sg_ulong(a.Type))
			f.lengths = append(f.lengths, C.sg_ulong(len(a.Value)))
			f.values = append(f.values, a.Value...)
		}
	}
	return f
}

func (f flat) t() *C.sg_ulong { return unsafe.SliceData(f.types) }
func (f flat) l() *C.sg_ulong { return unsafe.SliceData(f.lengths) }
func (f flat) v() *C.sg_byte  { return first(f.values) }
func (f flat) n() C.sg_ulong  { return C.sg_ulong(len(f.types)) }

func (s *session) Find(template []Attribute, want []uint, limit int) ([]Object, error) {
	if limit < 1 {
		return nil, ArgumentsBad
	}
	f, handles, n := flatten(template), make([]C.sg_ulong, limit), C.sg_ulong(limit)
	if err := result(C.sg_find(s.b.list, s.h, f.t(), f.l(), f.v(), f.n(), &handles[0], &n)); err != nil {
		return nil, err
	}
	objects := make([]Object, 0, n)
	for _, h := range handles[:n] {
		o := Object{Handle: uint(h), Attributes: make(map[uint][]byte, len(want))}
		for _, t := range want {
			v, err := s.attribute(h, t)
			if err != nil {
				return nil, err
			}
			if v != nil {
				o.Attributes[t] = v
			}
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// attribute reads one attribute at a time: libraries differ in what they do when they are asked for
// several and lack one. It returns nil for an attribute that the token lacks or keeps secret.
func (s *session) attribute(object C.sg_ulong, t uint) ([]byte, error) {
	var small [512]byte
	buf := small[:]
	for {
		n := C.sg_ulong(len(buf))
		err := result(C.sg_attribute(s.b.list, s.h, object, C.sg_ulong(t), first(buf), &n))
		switch {
		case err == nil && int(n) <= len(buf):
			return append([]byte{}, buf[:n]...), nil
		case errors.Is(err, AttributeTypeInvalid), errors.Is(err, AttributeSensitive):
			return nil, nil
		case errors.Is(err, BufferTooSmall) && n <= maxAttributeValue && int(n) > len(buf):
			buf = make([]byte, n)
		case errors.Is(err, BufferTooSmall), err == nil:
			return nil, nil // CK_UNAVAILABLE_INFORMATION, or no attribute of ours
		default:
			return nil, err
		}
	}
}

func (s *session) Crypt(c Call) ([]byte, error) {
	if c.Operation < Encrypt || c.Operation > Sign || len(c.Input) == 0 || c.Size <= 0 || c.Size > maxOutput {
		return nil, ArgumentsBad
	}
	out := make([]byte, c.Size)
	n := C.sg_ulong(len(out))
	err := result(C.sg_crypt(s.b.list, s.h, C.sg_ulong(c.Operation), C.sg_ulong(c.Mechanism), C.sg_ulong(c.Key),
		C.sg_ulong(c.Hash), C.sg_ulong(c.MGF), C.sg_ulong(c.Salt), first(c.IV), C.sg_ulong(len(c.IV)),
		first(c.AAD), C.sg_ulong(len(c.AAD)), first(c.Input), C.sg_ulong(len(c.Input)), first(out), &n))
	if err == nil && uint64(n) > uint64(len(out)) {
		err = GeneralError // the library claims to have written beyond its buffer
	}
	if err != nil {
		clear(out)
		return nil, err
	}
	return out[:n:n], nil
}

func (s *session) Generate(mechanism uint, template, public []Attribute) (uint, error) {
	var key C.sg_ulong
	m, f := C.sg_ulong(mechanism), flatten(public, template)
	if public == nil {
		err := result(C.sg_generate_key(s.b.list, s.h, m, f.t(), f.l(), f.v(), f.n(), &key))
		return uint(key), err
	}
	split := C.sg_ulong(len(public))
	err := result(C.sg_generate_pair(s.b.list, s.h, m, f.t(), f.l(), f.v(), split, f.n(), &key))
	return uint(key), err
}

func (s *session) Alter(handle uint, a Attribute) error {
	f := flatten([]Attribute{a})
	return result(C.sg_set_attributes(s.b.list, s.h, C.sg_ulong(handle), f.t(), f.l(), f.v(), f.n()))
}

func (s *session) Destroy(handle uint) error {
	return result(C.sg_destroy(s.b.list, s.h, C.sg_ulong(handle)))
}

func (s *session) Create(template []Attribute) (uint, error) {
	var object C.sg_ulong
	f := flatten(template)
	defer clear(f.values) // an import carries key material
	err := result(C.sg_create(s.b.list, s.h, f.t(), f.l(), f.v(), f.n(), &object))
	return uint(object), err
}
