//go:build cgo && !windows

package cryptoki

/*
#cgo linux LDFLAGS: -ldl
#cgo noescape sg_crypt
#cgo nocallback sg_crypt
#include "library.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"
)

// binding is a Library on the function list of a loaded C library.
type binding struct {
	list *C.sg_list
}

// Load loads the library and does not initialise it. The file stays loaded until the process ends.
// Where the file is not a PKCS#11 library, the error wraps [ErrNotLibrary] and says what the file
// is.
func Load(path string) (Library, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	b := new(binding)
	if why := C.sg_load(name, &b.list); why != nil {
		defer C.free(unsafe.Pointer(why))
		return nil, fmt.Errorf("%w: %s: %s", ErrNotLibrary, path, strings.TrimPrefix(C.GoString(why), path+": "))
	}
	return b, nil
}

// checkFile reports the usual mistakes in plainer words than the loader's. The loader searches for
// a name without a slash.
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

func (b *binding) Initialize() error { return result(C.sg_initialize(b.list)) }

func (b *binding) Finalize() error { return result(C.sg_finalize(b.list)) }

// slotIDs lists the slots that hold a token. The list may grow between the question for its length
// and the list itself.
func (b *binding) slotIDs() ([]C.sg_ulong, error) {
	for {
		var n C.sg_ulong
		if err := result(C.sg_slots(b.list, nil, &n)); err != nil || n == 0 {
			return nil, err
		}
		if n > maxSlots {
			return nil, fmt.Errorf("%w: the library claims %d slots", GeneralError, uint(n))
		}
		ids := make([]C.sg_ulong, n)
		err := result(C.sg_slots(b.list, &ids[0], &n))
		if errors.Is(err, BufferTooSmall) {
			continue
		}
		return ids[:min(int(n), len(ids))], err
	}
}

// tokens lists the slots whose token is initialised, or is not.
func (b *binding) tokens(initialised bool) ([]Slot, error) {
	ids, err := b.slotIDs()
	if err != nil {
		return nil, err
	}
	slots := make([]Slot, 0, len(ids))
	for _, id := range ids {
		var info C.sg_token
		if result(C.sg_token_info(b.list, id, &info)) == nil && (info.flags&TokenInitialized != 0) == initialised {
			slots = append(slots, describe(uint(id), &info))
		}
	}
	return slots, nil
}

func (b *binding) Slots() ([]Slot, error) { return b.tokens(true) }

func describe(id uint, info *C.sg_token) Slot {
	limit := uint(info.max_sessions)
	if limit == unavailable {
		limit = 0
	}
	return Slot{
		ID: id, Label: text(info.label[:]), Serial: text(info.serial[:]), Manufacturer: text(info.manufacturer[:]),
		Model: text(info.model[:]), Flags: uint(info.flags), MaxSessions: limit,
		Firmware: fmt.Sprintf("%d.%d", info.firmware.major, info.firmware.minor),
	}
}

// text reads a field of fixed length: PKCS#11 pads with blanks, some libraries with zero bytes.
func text(field []C.sg_byte) string {
	return strings.TrimRight(string(unsafe.Slice((*byte)(&field[0]), len(field))), " \x00")
}

func (b *binding) Open(slot uint, write bool) (Session, error) {
	flags := C.sg_ulong(sessionSerial)
	if write {
		flags |= sessionWrite
	}
	s := &session{b: b, slot: slot}
	return s, result(C.sg_open(b.list, C.sg_ulong(slot), flags, &s.h))
}

func (b *binding) FreeSlot() (uint, error) {
	slots, err := b.tokens(false)
	switch {
	case err != nil:
		return 0, err
	case len(slots) == 0:
		return 0, TokenNotPresent
	}
	return slots[0].ID, nil
}

func (b *binding) InitToken(slot uint, soPIN []byte, label string) error {
	if len(label) > labelLen {
		return ArgumentsBad
	}
	padded := []byte(label + strings.Repeat(" ", labelLen-len(label)))
	return result(C.sg_init_token(b.list, C.sg_ulong(slot), first(soPIN), C.sg_ulong(len(soPIN)), first(padded)))
}

func (b *binding) InitPIN(slot uint, soPIN, pin []byte) error {
	open, err := b.Open(slot, true)
	if err != nil {
		return err
	}
	s := open.(*session)
	defer s.Close()
	if err := s.Login(UserSO, soPIN); err != nil {
		return err
	}
	err = result(C.sg_init_pin(b.list, s.h, first(pin), C.sg_ulong(len(pin))))
	if logout := result(C.sg_logout(b.list, s.h)); err == nil {
		err = logout
	}
	return err
}

func result(rv C.sg_ulong) error {
	if rv == 0 {
		return nil
	}
	return CKR(rv)
}

// first is the address of b's memory for C, nil where there is none.
func first(b []byte) *C.sg_byte { return (*C.sg_byte)(unsafe.SliceData(b)) }
