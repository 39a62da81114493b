package keys

import (
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
)

// Errors of this package. The texts are OpenBao's.
var (
	// ErrRecord is returned for stored bytes that are no record of this package.
	ErrRecord = errors.New("keys: not a valid record")
	// ErrNotFound is returned where no key has the name.
	ErrNotFound = fault.New(fault.Invalid, "encryption key not found")
	// ErrExists is returned where a key has the name of one that is to be made.
	ErrExists = fault.New(fault.Invalid, "a key of this name exists")
	// ErrSoftDeleted is returned for every use of a key that was soft-deleted.
	ErrSoftDeleted = fault.New(fault.Invalid, "refusing to use soft-deleted key")
	// ErrNoVersion is returned for a version that the key does not have.
	ErrNoVersion = fault.New(fault.Invalid, "version does not exist or cannot be found")
	// ErrContext is returned where a derived key is used without context.
	ErrContext = fault.New(fault.Invalid,
		"missing 'context' for key derivation; the key was created using a derived key, "+
			"which means additional, per-request information must be included in order to perform operations with the key")
	// ErrTooOld is returned for ciphertexts and signatures below min_decryption_version.
	ErrTooOld = fault.New(fault.Invalid, "ciphertext or signature version is disallowed by policy (too old)")
	// ErrGCM and ErrChaCha are returned where a ciphertext, its key, context or additional data do not
	// belong together.
	ErrGCM    = fault.New(fault.Invalid, "cipher: message authentication failed")
	ErrChaCha = fault.New(fault.Invalid, "chacha20poly1305: message authentication failed")
	// ErrShort is returned for ciphertexts that cannot hold a nonce and a tag.
	ErrShort = fault.New(fault.Invalid, "invalid ciphertext length")
	// ErrSignature is returned for a signature that cannot be one of the key's type.
	ErrSignature = fault.New(fault.Invalid, "supplied signature is invalid")

	errVersionHigh = fault.New(fault.Invalid, "requested version for encryption is higher than the latest key version")
	errVersionLow  = fault.New(fault.Invalid,
		"requested version for encryption is less than the minimum encryption key version")
	errNegative = fault.New(fault.Invalid, "requested version for encryption is negative")
)
