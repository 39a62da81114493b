//go:build cgo && !windows

package cryptoki

/*
#cgo linux LDFLAGS: -ldl
#include "call_cgo.h"
#cgo noescape sg_crypt
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// binding is a Library on miekg/pkcs11. Log-in and the cryptographic operations
// bypass it: a PIN need not become a Go string there, and an operation is one crossing to C
// into a buffer that we size, instead of three and two allocations.
type binding struct {
	path string
	ctx  *pkcs11.Ctx
	list *C.sg_list
}

// Load loads the library and does not initialise it. The file stays loaded until the process ends. The error says
// what the file is, where it is no library: it wraps [ErrNotLibrary].
func Load(path string) (Library, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	b := &binding{path: path}
	if why := C.sg_load(name); why != nil {
		defer C.free(unsafe.Pointer(why))
		return nil, fmt.Errorf("%w: %s: %s", ErrNotLibrary, path, strings.TrimPrefix(C.GoString(why), path+": "))
	}
	if b.ctx = pkcs11.New(path); b.ctx == nil {
		return nil, fmt.Errorf("%w: %s cannot be loaded", ErrNotLibrary, path)
	}
	// The functions must be those that miekg/pkcs11 uses, and asking for the list again is no way to them:
	// p11-kit's client answers each C_GetFunctionList with a new instance of itself. The context is private, and begins so.
	if c := *(**C.sg_context)(unsafe.Pointer(b.ctx)); c != nil {
		b.list = c.list
	}
	if b.list == nil {
		return nil, fmt.Errorf("%w: %s: C_GetFunctionList fails", ErrNotLibrary, path)
	}
	return b, nil
}

// checkFile says in words what the loader would say in its own. A bare name is searched by the loader.
func checkFile(path string) error {
	if !strings.Contains(path, "/") {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist", ErrNotLibrary, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotLibrary, err)
	case info.IsDir():
		return fmt.Errorf("%w: %s is a directory", ErrNotLibrary, path)
	}
	return nil
}

// ckr turns the binding's errors into ours.
func ckr(err error) error {
	var e pkcs11.Error
	if errors.As(err, &e) {
		return CKR(e)
	}
	return err
}

func (b *binding) Initialize() error { return ckr(b.ctx.Initialize()) }

func (b *binding) Finalize() error { return ckr(b.ctx.Finalize()) }

func (b *binding) Slots() ([]Slot, error) {
	ids, err := b.ctx.GetSlotList(true)
	if err != nil {
		return nil, ckr(err)
	}
	slots := make([]Slot, 0, len(ids))
	for _, id := range ids {
		info, err := b.ctx.GetTokenInfo(id)
		if err != nil || info.Flags&TokenInitialized == 0 {
			continue
		}
		slots = append(slots, describe(id, info))
	}
	return slots, nil
}

func describe(id uint, info pkcs11.TokenInfo) Slot {
	limit := info.MaxSessionCount
	if limit == unavailable {
		limit = 0
	}
	trim := func(s string) string { return strings.TrimRight(s, " \x00") }
	return Slot{
		ID: id, Label: trim(info.Label), Serial: trim(info.SerialNumber), Manufacturer: trim(info.ManufacturerID),
		Model: trim(info.Model), Flags: info.Flags, MaxSessions: limit,
		Firmware: fmt.Sprintf("%d.%d", info.FirmwareVersion.Major, info.FirmwareVersion.Minor),
	}
}

func (b *binding) Open(slot uint, write bool) (Session, error) {
	flags := uint(pkcs11.CKF_SERIAL_SESSION)
	if write {
		flags |= pkcs11.CKF_RW_SESSION
	}
	h, err := b.ctx.OpenSession(slot, flags)
	if err != nil {
		return nil, ckr(err)
	}
	return &session{b: b, slot: slot, h: h}, nil
}

// session is a Session of a binding.
type session struct {
	b    *binding
	slot uint
	h    pkcs11.SessionHandle
}

func (s *session) Close() error { return ckr(s.b.ctx.CloseSession(s.h)) }

func (s *session) Login(user uint, pin []byte) error {
	return result(C.sg_login(s.b.list, C.sg_ulong(s.h), C.sg_ulong(user), first(pin), C.sg_ulong(len(pin))))
}

func (s *session) Mechanism(m uint) (uint, error) {
	info, err := s.b.ctx.GetMechanismInfo(s.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(m, nil)})
	return info.Flags, ckr(err)
}

func (s *session) Find(template []Attribute, want []uint, limit int) ([]Object, error) {
	if err := s.b.ctx.FindObjectsInit(s.h, attributes(template)); err != nil {
		return nil, ckr(err)
	}
	handles, _, err := s.b.ctx.FindObjects(s.h, limit)
	if ferr := s.b.ctx.FindObjectsFinal(s.h); err == nil {
		err = ferr
	}
	if err != nil {
		return nil, ckr(err)
	}
	objects := make([]Object, 0, len(handles))
	for _, h := range handles {
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

// attribute reads one attribute at a time: asked for several, libraries differ in what they do when one is missing.
func (s *session) attribute(h pkcs11.ObjectHandle, t uint) ([]byte, error) {
	got, err := s.b.ctx.GetAttributeValue(s.h, h, []*pkcs11.Attribute{pkcs11.NewAttribute(t, nil)})
	switch err = ckr(err); {
	case errors.Is(err, AttributeTypeInvalid), errors.Is(err, AttributeSensitive):
		return nil, nil
	case err != nil:
		return nil, err
	case len(got) != 1 || len(got[0].Value) > maxAttributeValue:
		return nil, nil
	}
	return got[0].Value, nil
}

func (s *session) Crypt(c Call) ([]byte, error) {
	if c.Operation < Encrypt || c.Operation > Sign || len(c.Input) == 0 || c.Size <= 0 || c.Size > maxOutput {
		return nil, ArgumentsBad
	}
	out := make([]byte, c.Size)
	n := C.sg_ulong(len(out))
	err := result(C.sg_crypt(s.b.list, C.sg_ulong(s.h), C.sg_ulong(c.Operation), C.sg_ulong(c.Mechanism), C.sg_ulong(c.Key),
		C.sg_ulong(c.Hash), C.sg_ulong(c.MGF), first(c.IV), C.sg_ulong(len(c.IV)), first(c.AAD), C.sg_ulong(len(c.AAD)),
		first(c.Input), C.sg_ulong(len(c.Input)), first(out), &n))
	if err == nil && uint64(n) > uint64(len(out)) {
		err = GeneralError // it says that it wrote beyond the buffer that it was given
	}
	if err != nil {
		clear(out)
		return nil, err
	}
	return out[:n:n], nil
}

func (s *session) Generate(mechanism uint, template, public []Attribute) (uint, error) {
	m := []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}
	if public == nil {
		h, err := s.b.ctx.GenerateKey(s.h, m, attributes(template))
		return uint(h), ckr(err)
	}
	_, h, err := s.b.ctx.GenerateKeyPair(s.h, m, attributes(public), attributes(template))
	return uint(h), ckr(err)
}

func (s *session) Alter(handle uint, a Attribute) error {
	return ckr(s.b.ctx.SetAttributeValue(s.h, pkcs11.ObjectHandle(handle), attributes([]Attribute{a})))
}

func (s *session) Destroy(handle uint) error {
	return ckr(s.b.ctx.DestroyObject(s.h, pkcs11.ObjectHandle(handle)))
}

func (b *binding) FreeSlot() (uint, error) {
	ids, err := b.ctx.GetSlotList(true)
	if err != nil {
		return 0, ckr(err)
	}
	for _, id := range ids {
		if info, err := b.ctx.GetTokenInfo(id); err == nil && info.Flags&TokenInitialized == 0 {
			return id, nil
		}
	}
	return 0, TokenNotPresent
}

func (b *binding) InitToken(slot uint, soPIN []byte, label string) error {
	return ckr(b.ctx.InitToken(slot, string(soPIN), label))
}

func (b *binding) InitPIN(slot uint, soPIN, pin []byte) error {
	s, err := b.Open(slot, true)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Login(UserSO, soPIN); err != nil {
		return err
	}
	h := s.(*session).h
	err = b.ctx.InitPIN(h, string(pin))
	if oerr := b.ctx.Logout(h); err == nil {
		err = oerr
	}
	return ckr(err)
}

func attributes(list []Attribute) []*pkcs11.Attribute {
	out := make([]*pkcs11.Attribute, len(list))
	for i, a := range list {
		out[i] = pkcs11.NewAttribute(a.Type, a.Value)
	}
	return out
}

func result(rv C.sg_ulong) error {
	if rv == 0 {
		return nil
	}
	return CKR(rv)
}

// first is the address of b's memory for C, nil where there is none.
func first(b []byte) *C.sg_byte { return (*C.sg_byte)(unsafe.SliceData(b)) }
