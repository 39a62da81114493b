package cryptoki

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
)

// Library is a loaded PKCS#11 library. Every method blocks for as long as the library does. Errors
// are a [CKR] or wrap one.
type Library interface {
	Initialize() error
	Finalize() error
	// Slots lists the slots with an initialised token. It leaves out a slot whose token gives no
	// information.
	Slots() ([]Slot, error)
	// Open opens a session, which may change objects if write is set.
	Open(slot uint, write bool) (Session, error)
}

// Session is one session of a token. One goroutine at a time may use it: otherwise SoftHSM, for
// example, crashes the process.
type Session interface {
	// Login logs the whole process in to the session's token. An empty pin means the token's own
	// keypad.
	Login(user uint, pin []byte) error
	// Find returns at most limit objects that match every attribute of the template, each with the
	// wanted attributes. An attribute that the token lacks or keeps secret is absent.
	Find(template []Attribute, want []uint, limit int) ([]Object, error)
	// Crypt runs one whole operation, from its init call to its last byte.
	Crypt(Call) ([]byte, error)
	Close() error
}

// Prober is implemented by sessions that report which mechanisms their token claims to have.
type Prober interface {
	// Mechanism returns the flags (CKF_ENCRYPT, ...) that the token states for a mechanism.
	Mechanism(mechanism uint) (flags uint, err error)
}

// KeyMaker is implemented by sessions that can create, change and destroy objects.
type KeyMaker interface {
	// Generate makes a secret key from the template, or a key pair if public is not nil. It returns
	// the handle of the secret or private key.
	Generate(mechanism uint, template, public []Attribute) (handle uint, err error)
	Alter(handle uint, a Attribute) error
	Destroy(handle uint) error
}

// Creator is implemented by sessions that can import objects (C_CreateObject).
type Creator interface {
	Create(template []Attribute) (handle uint, err error)
}

// Initializer is implemented by libraries that can initialise a token (C_InitToken, C_InitPIN).
type Initializer interface {
	// FreeSlot returns a slot whose token is not initialised.
	FreeSlot() (uint, error)
	InitToken(slot uint, soPIN []byte, label string) error
	// InitPIN logs in as the security officer and sets the user's PIN.
	InitPIN(slot uint, soPIN, pin []byte) error
}

// Killer is implemented by libraries in a process of their own.
type Killer interface {
	// Kill ends the process. Calls inside it return at once with an error that wraps [ErrWorker];
	// the next Initialize starts a new process.
	Kill()
	// Close is Kill for good.
	Close() error
}

// Leaver is implemented by sessions whose calls a caller can leave without a goroutine of its own.
type Leaver interface {
	// Within bounds the calls that follow: one whose context ends returns the context's cause, and
	// continues in the library. context.Background() removes the bound.
	Within(ctx context.Context)
	// Left reports whether a call was left. If so, it calls back once, when that call has returned
	// or the library's process has ended. The session must only be closed then; Close waits for it.
	Left(back func()) bool
}

// Slot is a slot and its token's description of itself, without padding.
type Slot struct {
	ID           uint
	Label        string
	Serial       string
	Manufacturer string
	Model        string
	Firmware     string
	Flags        uint
	MaxSessions  uint // 0: no limit, or an unknown one
}

// Object is a result of Find.
type Object struct {
	Handle     uint
	Attributes map[uint][]byte
}

// Bool reads a CK_BBOOL attribute; ok is false if it is absent or malformed.
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

// Attribute is a type and its value in the library's memory format.
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

// ulongSize is the size of CK_ULONG: a machine word on every platform that this package supports.
const ulongSize = 4 << (^uint(0) >> 63)

// Operation is the function of a [Call].
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
	Size      int    // the longest output; the library's own answer to that question is not trusted
	IV        []byte // CKM_AES_GCM, CKM_AES_CBC_PAD; a library that makes its own GCM vector overwrites it
	AAD       []byte // CKM_AES_GCM
	Hash      uint   // CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS: CKM_SHA256, ...
	MGF       uint   // CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS: CKG_MGF1_SHA256, ...
	Salt      uint   // CKM_RSA_PKCS_PSS: the salt's length
}

// CKR is a return value of a PKCS#11 function.
type CKR uint

// Error returns the standard's name, or the number.
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
	ErrNoCgo = errors.New("this build has no PKCS#11 support, because it was made without cgo: " +
		"build it with CGO_ENABLED=1 and a C compiler, or use the release whose name ends in -hsm")
	// ErrWorker: the process of the library ended during a call, or does not start.
	ErrWorker = errors.New("the HSM library's process ended")
	// ErrNotLibrary: the file is missing, or is not a PKCS#11 library.
	ErrNotLibrary = errors.New("not a PKCS#11 library")
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
