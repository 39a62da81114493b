package recovery

import "errors"

// Errors of submitted shares.
var (
	// ErrShareEncoding is returned for a text that is neither hexadecimal nor base64.
	ErrShareEncoding = errors.New("'key' must be a valid hex or base64 string")
	// ErrShareLength is returned for a share that is shorter than 16 bytes or longer than 33.
	ErrShareLength = errors.New("key has the wrong length")
	// ErrShareUnknown is returned for a share of neither the current nor the previous generation.
	ErrShareUnknown = errors.New("share rejected: it is not one of the current shares")
	// ErrShareReplaced is returned for a share of the previous generation. The text says which, and
	// when it was replaced.
	ErrShareReplaced = errors.New("share rejected: it was replaced")
)

// Errors of splitting and combining.
var (
	// ErrShape is returned for an invalid number of shares or threshold. The text names the rule.
	ErrShape = errors.New("invalid number of shares or threshold")
	// ErrKeyLength is returned for a key to split without 16 to 32 bytes, and for a seed without 32
	// bytes.
	ErrKeyLength = errors.New("a key to split has 16 to 32 bytes")
	// ErrTooFew is returned by Combine for fewer than two shares.
	ErrTooFew = errors.New("less than two parts cannot be used to reconstruct the secret")
	// ErrMixed is returned by Combine for shares of different lengths.
	ErrMixed = errors.New("all parts must be the same length")
	// ErrDuplicate is returned by Combine for two shares with the same x.
	ErrDuplicate = errors.New("duplicate part detected")
	// ErrNoPoint is returned by Combine for a share whose x is 0, which is the key itself. Split
	// makes no such share.
	ErrNoPoint = errors.New("a part has no valid number in its last byte")
	// ErrWrongKey is returned when shares combine to another key than the share set's: its record
	// is inconsistent.
	ErrWrongKey = errors.New("the shares combine to another key than the share set records")
)

// Errors of ceremonies.
var (
	// ErrPurpose is returned for a purpose that is unknown, or that the authority cannot authorise.
	ErrPurpose = errors.New("these shares cannot authorise this operation")
	// ErrParams is returned for contradictory parameters. The text names them.
	ErrParams = errors.New("invalid parameters")
	// ErrExpired is returned once a ceremony's time is over.
	ErrExpired = errors.New("the operation has expired; start it again")
	// ErrNonce is returned for a missing or wrong nonce. No error contains the right one.
	ErrNonce = errors.New("incorrect nonce supplied; ask the operator who started the operation for its nonce")
	// ErrAuthorityChanged is returned when the shares that authorise were replaced after the
	// ceremony began.
	ErrAuthorityChanged = errors.New("the shares that authorise this operation were replaced since it began; start " +
		"it again")
	// ErrShareRepeated is returned for a share that was already submitted to this ceremony.
	ErrShareRepeated = errors.New("given key has already been provided during this operation")
	// ErrAuthorised is returned for a share beyond the required number.
	ErrAuthorised = errors.New("the operation already has all required shares")
	// ErrVerificationDue is returned for a share of the authority in the verification phase.
	ErrVerificationDue = errors.New("rekey operation already finished; verification must be performed, with the new " +
		"shares")
	// ErrNotVerifying is returned by the verification steps of a ceremony that is not in the
	// verification phase.
	ErrNotVerifying = errors.New("no rekey verification in progress")
	// ErrAwait is returned by Await for a ceremony without verification, or a share set that does
	// not match its parameters.
	ErrAwait = errors.New("the new shares do not match the ceremony")
)

// Errors of one-time passwords and encoded tokens.
var (
	// ErrOTPLength is returned for a one-time password whose length is not the token's.
	ErrOTPLength = errors.New("OTP string has incorrect length")
	// ErrTokenEncoding is returned for an encoded token that is not base64, or longer than any
	// token.
	ErrTokenEncoding = errors.New("the encoded token is not valid base64")
)

// ErrRecord is returned for bytes that are not a record of the expected kind: another version,
// truncated, or beyond a bound.
var ErrRecord = errors.New("not a valid record")

// worded is a sentinel error with another text: clients match the text, code matches the kind.
type worded struct {
	text string
	kind error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.kind }

// KeyOnlyError is returned for a parameter that means nothing where a rekey makes a new root key
// and no shares. It is an [ErrParams].
type KeyOnlyError struct {
	What string // such as "key backup"
}

// Error names the parameter.
func (e *KeyOnlyError) Error() string {
	return e.What + " not supported when rekeying the barrier key with recovery keys"
}

// Unwrap returns [ErrParams].
func (e *KeyOnlyError) Unwrap() error { return ErrParams }
