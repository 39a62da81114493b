package hsm

import (
	"errors"

	"github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Errors of the configuration: a retry does not help.
var (
	// ErrNoCgo is returned by a build without cgo. Its text says how to get one with cgo.
	ErrNoCgo = cryptoki.ErrNoCgo
	// ErrNotLibrary is returned when the library's file is missing or is not a PKCS#11 library.
	ErrNotLibrary = cryptoki.ErrNotLibrary
	// ErrConfig is returned by New, Key and Generate for an invalid configuration.
	ErrConfig = errors.New("hsm: invalid configuration")
	// ErrTokenAmbiguous is returned when several tokens match.
	ErrTokenAmbiguous = errors.New("more than one token matches")
	// ErrPIN is returned once the token has refused the PIN. The Token keeps it and does not send
	// the PIN again.
	ErrPIN = errors.New("the token refuses the PIN")
	// ErrPINLocked is returned when the token has locked the PIN.
	ErrPINLocked = errors.New("the PIN is locked")
	// ErrPINFinalTry is returned when a single try for the PIN is left: the program does not use it
	// unattended.
	ErrPINFinalTry = errors.New("the token has a single try for the PIN left, which is not used unattended")
	// ErrPINUnset is returned when the token needs a PIN and has none set, or the configuration has
	// none.
	ErrPINUnset = errors.New("a PIN is missing")
)

// Errors of keys.
var (
	// ErrKeyNotFound is returned when no key matches, even after a restart of the library.
	ErrKeyNotFound = errors.New("key not found on the token")
	// ErrAmbiguousKey is returned when several keys match. The text says how many.
	ErrAmbiguousKey = errors.New("more than one key matches")
	// ErrKeyType is returned when the name belongs to an object of another type.
	ErrKeyType = errors.New("the key has another type")
	// ErrKeyUse is returned when the key's attributes forbid the operation.
	ErrKeyUse = errors.New("the key's attributes forbid this use")
	// ErrKeyExists is returned by Generate when the name is in use.
	ErrKeyExists = errors.New("a key with this name exists")
	// ErrKeyAttributes is returned by Generate when the new key differs from its template. The key
	// was destroyed.
	ErrKeyAttributes = errors.New("the new key has other attributes than requested")
	// ErrKeyProtection is returned for a key that can leave the token, although
	// KeySpec.NonExtractable is set.
	ErrKeyProtection = errors.New("the key is not protected as required")
	// ErrReadOnly is returned where the token or its sessions allow no changes.
	ErrReadOnly = errors.New("the token is read-only")
	// ErrTokenFull is returned where the token has no room for an object.
	ErrTokenFull = errors.New("the token has no room for the object")
	// ErrMechanism is returned when the token and the key have no authenticating mechanism, or not
	// the configured one.
	ErrMechanism = errors.New("the mechanism is not available")
)

// Errors of data.
var (
	// ErrCorrupt is returned when the ciphertext or its additional data fail authentication and the
	// key works.
	ErrCorrupt = errors.New("the ciphertext fails authentication")
	// ErrNoMAC is returned for a ciphertext of an RSA key without a MAC, although KeySpec has an HMAC
	// key.
	ErrNoMAC = errors.New("the ciphertext does not prove who made it")
	// ErrFormat is returned for a ciphertext that Encrypt cannot have returned.
	ErrFormat = errors.New("malformed ciphertext")
	// ErrTooLarge is returned for a plaintext that is empty or longer than MaxPlaintext.
	ErrTooLarge = errors.New("unsupported plaintext length")
)

// Errors that may be temporary.
var (
	// ErrTokenNotFound is returned when no slot has the token. The text lists the tokens that
	// exist.
	ErrTokenNotFound = errors.New("token not found")
	// ErrTokenGone is returned when a token that was present is no longer in any slot.
	ErrTokenGone = errors.New("the token was removed")
	// ErrDevice is returned for other errors of library and device, after the last recovery level.
	ErrDevice = errors.New("the device failed")
	// ErrDeadline is returned when the library did not answer in time.
	ErrDeadline = errors.New("the PKCS#11 library did not answer within the deadline")
	// ErrWorker is returned when the library's process ended during every attempt. The text says
	// how.
	ErrWorker = cryptoki.ErrWorker
	// ErrStuck is returned at once while every session is in a call that has passed its deadline.
	ErrStuck = cryptoki.ErrStuck
	// ErrSessions is returned when the token has no free session: other programs hold them.
	ErrSessions = errors.New("the token has no free session")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("hsm: closed")
)
