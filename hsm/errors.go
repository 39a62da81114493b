package hsm

import (
	"errors"

	"github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Errors of the configuration: trying again does not help.
var (
	// ErrNoCgo is returned by a build without cgo; its text says how to get one with it.
	ErrNoCgo = cryptoki.ErrNoCgo
	// ErrNotLibrary is returned where the library's path is missing, or names no PKCS#11 library.
	ErrNotLibrary = cryptoki.ErrNotLibrary
	// ErrConfig is returned by New for a configuration that cannot be meant.
	ErrConfig = errors.New("hsm: invalid configuration")
	// ErrTokenAmbiguous is returned where two tokens bear the label.
	ErrTokenAmbiguous = errors.New("more than one token bears this label")
	// ErrPIN is returned once the token has refused the PIN. It is kept: the PIN is not sent again.
	ErrPIN = errors.New("the token refuses the PIN")
	// ErrPINLocked is returned where the token has locked the PIN.
	ErrPINLocked = errors.New("the PIN is locked")
	// ErrPINFinalTry is returned where the token has one try left, and the program will not be the one to use it up.
	ErrPINFinalTry = errors.New("the token has one try for the PIN left, which is not used up unattended")
	// ErrPINUnset is returned where the token needs a PIN and has none set, or none was configured.
	ErrPINUnset = errors.New("no PIN")
)

// Errors of keys.
var (
	// ErrKeyNotFound is returned where no key fits, and a restart of the library did not show one.
	ErrKeyNotFound = errors.New("no such key on the token")
	// ErrAmbiguousKey is returned where several keys fit: the text says how many.
	ErrAmbiguousKey = errors.New("more than one key fits")
	// ErrKeyType is returned where the name belongs to an object of another kind.
	ErrKeyType = errors.New("the key is of another type")
	// ErrKeyUse is returned where the key's attributes forbid what it is needed for.
	ErrKeyUse = errors.New("the key may not be used for this")
	// ErrKeyExists is returned by Generate where the name is taken.
	ErrKeyExists = errors.New("a key of this name exists")
	// ErrKeyAttributes is returned by Generate where the token made something else than it was asked for; the key was destroyed.
	ErrKeyAttributes = errors.New("the token made a key of other attributes than asked for")
	// ErrMechanism is returned where token and key have no mechanism that authenticates, or not the one configured.
	ErrMechanism = errors.New("mechanism not available")
)

// Errors of data.
var (
	// ErrCorrupt is returned where the ciphertext or its additional data fail authentication, while the key works.
	ErrCorrupt = errors.New("the ciphertext fails its authentication")
	// ErrFormat is returned for a ciphertext that no Encrypt returns.
	ErrFormat = errors.New("malformed ciphertext")
	// ErrTooLarge is returned for a plaintext that is empty, or larger than MaxPlaintext.
	ErrTooLarge = errors.New("plaintext of unsupported length")
)

// Errors that may pass by themselves.
var (
	// ErrTokenNotFound is returned where no slot has the token; the text lists those that exist.
	ErrTokenNotFound = errors.New("no such token")
	// ErrTokenGone is returned where a token that was here is in no slot any more.
	ErrTokenGone = errors.New("the token is gone")
	// ErrDevice is returned for what library and device report otherwise, after the ladder.
	ErrDevice = errors.New("the device fails")
	// ErrDeadline is returned when the library did not return in time.
	ErrDeadline = errors.New("the PKCS#11 library does not answer within the deadline")
	// ErrStuck is returned at once while every session is in a call that passed its deadline.
	ErrStuck = cryptoki.ErrStuck
	// ErrSessions is returned where the token has no session left: other programs have them.
	ErrSessions = errors.New("the token has no session left")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("hsm: closed")
)
