package cryptoki

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Library is a loaded PKCS#11 library. Every method blocks for as long as the library does; errors are a
// [CKR] or wrap one.
type Library interface {
	Initialize() error
	Finalize() error
	// Slots lists the slots that hold a token. One that cannot be asked about its token is left out.
	Slots() ([]Slot, error)
	// Open opens a session, for reading and writing objects if write is set.
	Open(slot uint, write bool) (Session, error)
}

// Session is one session of a token. It must be used by one goroutine at a time:
// SoftHSM, for one, crashes the process otherwise.
type Session interface {
	// Login logs the whole process in to the session's token. An empty pin means the token's own key pad.
	Login(user uint, pin []byte) error
	// Find returns at most limit objects that match every attribute of the template, each with the wanted
	// attributes. One that the library does not know, or keeps to itself, is absent from the object.
	Find(template []Attribute, want []uint, limit int) ([]Object, error)
	// Crypt does one whole operation, from its init call to its last byte.
	Crypt(Call) ([]byte, error)
	Close() error
}

// Prober is implemented by sessions that can tell which mechanisms their token claims to have.
type Prober interface {
	// Mechanism returns the flags (CKF_ENCRYPT, ...) that the token states for a mechanism.
	Mechanism(mechanism uint) (flags uint, err error)
}

// KeyMaker is implemented by sessions that can create, change and destroy objects.
type KeyMaker interface {
	// Generate makes a secret key from the template, or a key pair where public is not nil, and
	// returns the handle of the secret or private key.
	Generate(mechanism uint, template, public []Attribute) (handle uint, err error)
	Alter(handle uint, a Attribute) error
	Destroy(handle uint) error
}

// Initializer is implemented by libraries that can format a token (C_InitToken, C_InitPIN).
type Initializer interface {
	// FreeSlot returns a slot whose token is not initialised yet.
	FreeSlot() (uint, error)
	InitToken(slot uint, soPIN []byte, label string) error
	// InitPIN sets the user's PIN as the security officer.
	InitPIN(slot uint, soPIN, pin []byte) error
}

// Slot is a slot and what its token says of itself, blanks trimmed.
type Slot struct {
	ID           uint
	Label        string
	Serial       string
	Manufacturer string
	Model        string
	Firmware     string
	Flags        uint
	MaxSessions  uint // 0: no limit, or none told
}

// Object is what Find returns.
type Object struct {
	Handle     uint
	Attributes map[uint][]byte
}

// Bool reads a CK_BBOOL attribute; ok is false where it is absent or malformed.
func (o Object) Bool(t uint) (value, ok bool) {
	v, present := o.Attributes[t]
	if !present || len(v) != 1 {
		return false, false
	}
	return v[0] != 0, true
}

// Ulong reads a CK_ULONG attribute.
func (o Object) Ulong(t uint) (uint, bool) {
	v, present := o.Attributes[t]
	if !present {
		return 0, false
	}
	switch len(v) {
	case 8:
		return uint(binary.NativeEndian.Uint64(v)), true
	case 4:
		return uint(binary.NativeEndian.Uint32(v)), true
	}
	return 0, false
}

// Attribute is a type and its value as the library wants it in memory.
type Attribute struct {
	Type  uint
	Value []byte
}

// Bool makes a CK_BBOOL attribute.
func Bool(t uint, v bool) Attribute {
	if v {
		return Attribute{t, []byte{1}}
	}
	return Attribute{t, []byte{0}}
}

// Ulong makes a CK_ULONG attribute of the machine's word.
func Ulong(t, v uint) Attribute {
	b := make([]byte, ulongSize)
	if ulongSize == 8 {
		binary.NativeEndian.PutUint64(b, uint64(v))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(v))
	}
	return Attribute{t, b}
}

// String makes an attribute of the bytes of a text.
func String(t uint, v string) Attribute { return Attribute{t, []byte(v)} }

const ulongSize = 4 << (^uint(0) >> 63) // CK_ULONG is as wide as a word on every platform that this package loads libraries on

// Operation is what a [Call] does.
type Operation uint8

// The operations.
const (
	Encrypt Operation = iota + 1
	Decrypt
	Sign
)

// String returns the operation's name.
func (o Operation) String() string {
	return [...]string{"none", "encrypt", "decrypt", "sign"}[min(o, Sign)]
}

// Call is one cryptographic operation.
type Call struct {
	Operation Operation
	Mechanism uint
	Key       uint   // object handle
	Input     []byte // at least one byte
	Size      int    // how large the output may become; the library's own answer to that question is not trusted
	IV        []byte // CKM_AES_GCM, CKM_AES_CBC_PAD; a library that makes its own GCM vector overwrites it
	AAD       []byte // CKM_AES_GCM
	Hash      uint   // CKM_RSA_PKCS_OAEP: CKM_SHA256, ...
	MGF       uint   // CKM_RSA_PKCS_OAEP: CKG_MGF1_SHA256, ...
}

// CKR is a return value of a PKCS#11 function.
type CKR uint

// Error gives the standard's name and the number.
func (c CKR) Error() string {
	name, known := ckrNames[c]
	switch {
	case known:
		return name
	case c >= 0x80000000:
		return "a vendor's error " + hex(uint(c))
	}
	return "PKCS#11 error " + hex(uint(c))
}

// Errors of loading a library.
var (
	// ErrNoCgo: this build cannot load a C library.
	ErrNoCgo = errors.New("this build of the program has no PKCS#11: it was made without cgo. " +
		"Build it with CGO_ENABLED=1 and a C compiler, or take the release whose name ends in -hsm")
	// ErrNotLibrary: the file is missing, or is no PKCS#11 library.
	ErrNotLibrary = errors.New("no PKCS#11 library")
)

func hex(v uint) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteString("0x")
	for shift := 28; shift >= 0; shift -= 4 {
		b.WriteByte(digits[v>>shift&15])
	}
	return b.String()
}
