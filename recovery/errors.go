package recovery

import "errors"

// Errors of shares, wherever they are given.
var (
	// ErrShareEncoding is returned for a text that is neither hexadecimal nor base64.
	ErrShareEncoding = errors.New("'key' must be a valid hex or base64 string")
	// ErrShareLength is returned for a share that is shorter than 16 bytes or longer than 33.
	ErrShareLength = errors.New("key has the wrong length")
	// ErrShareUnknown is returned for a share that is of this custody neither now nor in the generation before.
	ErrShareUnknown = errors.New("share rejected: it is none of the current shares")
	// ErrShareReplaced is returned for a share of the generation before; the message says which, and when it ended.
	ErrShareReplaced = errors.New("share rejected: it was replaced")
)

// Errors of splitting and combining.
var (
	// ErrShape is returned for numbers of shares and threshold that cannot be; the message says which rule they break.
	ErrShape = errors.New("impossible number of shares or threshold")
	// ErrKeyLength is returned for a key to split that is not of 16 to 32 bytes, and for a seed that is not of 32.
	ErrKeyLength = errors.New("a key to split has 16 to 32 bytes")
	// ErrTooFew is returned by Combine for fewer than two shares.
	ErrTooFew = errors.New("less than two parts cannot be used to reconstruct the secret")
	// ErrMixed is returned by Combine for shares of different lengths.
	ErrMixed = errors.New("all parts must be the same length")
	// ErrDuplicate is returned by Combine for two shares with one x.
	ErrDuplicate = errors.New("duplicate part detected")
	// ErrNoPoint is returned by Combine for a share whose x is zero: that would be the key itself, and Split never makes one.
	ErrNoPoint = errors.New("a part has no valid number in its last byte")
	// ErrWrongKey is returned where shares combine to a key that is not the custody's: its record contradicts itself.
	ErrWrongKey = errors.New("the shares combine to another key than the custody's record names")
)

// Errors of ceremonies.
var (
	// ErrPurpose is returned for a purpose that this version does not know, or that the authority cannot authorise.
	ErrPurpose = errors.New("this cannot be authorised by these shares")
	// ErrParams is returned for parameters that contradict each other; the message says which.
	ErrParams = errors.New("invalid parameters")
	// ErrExpired is returned once a ceremony's time is over. It takes nothing any more and has to be started again.
	ErrExpired = errors.New("the operation has expired; start it again")
	// ErrNonce is returned for a nonce that is missing or another ceremony's. The right one is never told.
	ErrNonce = errors.New("incorrect nonce supplied; ask the one who started the operation for its nonce")
	// ErrAuthorityChanged is returned where the shares that authorise were replaced after the ceremony began.
	ErrAuthorityChanged = errors.New("the shares that authorise this operation were replaced since it began; start it again")
	// ErrShareRepeated is returned for a share that this ceremony already has.
	ErrShareRepeated = errors.New("given key has already been provided during this operation")
	// ErrAuthorised is returned for a share that comes after the last one needed.
	ErrAuthorised = errors.New("the operation already has all the shares that it needs")
	// ErrVerificationDue is returned for an old share that comes when the new ones are to be proven.
	ErrVerificationDue = errors.New("rekey operation already finished; verification must be performed, with the new shares")
	// ErrNotVerifying is returned by a verification's steps in a ceremony that has none, or has not come to it.
	ErrNotVerifying = errors.New("no rekey verification in progress")
	// ErrAwait is returned by Await for a ceremony that has nothing to wait for, and for a custody that is not of its making.
	ErrAwait = errors.New("these shares cannot wait for their verification")
)

// Errors of one-time passwords and the tokens that are encoded with them.
var (
	// ErrOTPLength is returned for a one-time password that is not exactly as long as the token.
	ErrOTPLength = errors.New("OTP string has incorrect length")
	// ErrTokenEncoding is returned for an encoded token that is not base64, or longer than any token.
	ErrTokenEncoding = errors.New("the encoded token is not valid base64")
)

// ErrRecord is returned for bytes that are no record of the expected kind: another version, cut short, or beyond a bound.
var ErrRecord = errors.New("not a valid record")

// worded is a sentinel error in other words: clients expect the text, code the kind.
type worded struct {
	text string
	kind error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.kind }

// KeyOnlyError is returned for a parameter that means nothing where a rekey makes a new root key and no shares. It is
// an [ErrParams].
type KeyOnlyError struct {
	What string // such as "key backup"
}

// Error names the parameter.
func (e *KeyOnlyError) Error() string {
	return e.What + " not supported when rekeying the barrier key with recovery keys"
}

// Unwrap returns [ErrParams].
func (e *KeyOnlyError) Unwrap() error { return ErrParams }
