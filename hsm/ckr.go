package hsm

import (
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// kind is what an error of the library asks us to do.
type kind uint8

const (
	kindDevice     kind = iota // anything may be wrong: climb the ladder rung by rung
	kindSession                // this session is no good, others may be: a new session
	kindLogin                  // the log-in is gone: find the token and log in
	kindRestart                // the library itself is down: initialise it
	kindMissing                // an object is not there; believed only when a restart does not bring it back
	kindMechanism              // token or key cannot do this
	kindPermission             // the key's attributes forbid it
	kindData                   // the data are wrong
	kindBusy                   // no session left
	kindFinal                  // ours: not to be repeated
)

// kinds is the one table of return values. What is not in it is kindDevice: an unknown code (vendors have
// hundreds) is worth a climb, because the ladder ends.
var kinds = map[ck.CKR]kind{
	ck.SessionClosed:           kindSession,
	ck.SessionHandleInvalid:    kindSession,
	ck.KeyHandleInvalid:        kindSession,
	ck.ObjectHandleInvalid:     kindSession,
	ck.OperationActive:         kindSession,
	ck.OperationNotInitialized: kindSession,
	ck.FunctionCanceled:        kindSession,
	ck.NotLoggedIn:             kindLogin,
	ck.NotInitialized:          kindRestart,
	ck.SessionCount:            kindBusy,

	ck.MechanismInvalid:      kindMechanism,
	ck.MechanismParamInvalid: kindMechanism,
	ck.FunctionNotSupported:  kindMechanism,
	ck.KeyTypeInconsistent:   kindMechanism,
	ck.KeySizeRange:          kindMechanism,
	ck.ArgumentsBad:          kindMechanism, // SoftHSM's word for an OAEP hash that it does not know
	ck.TemplateInconsistent:  kindMechanism,
	ck.TemplateIncomplete:    kindMechanism,
	ck.AttributeValueInvalid: kindMechanism,
	ck.TokenWriteProtected:   kindPermission,
	ck.SessionReadOnly:       kindPermission,
	ck.KeyNotPermitted:       kindPermission,

	ck.EncryptedDataInvalid:  kindData,
	ck.EncryptedDataLenRange: kindData,
	ck.DataInvalid:           kindData,
	ck.DataLenRange:          kindData,
}

// errMissing says that a lookup found nothing; it becomes ErrKeyNotFound at the end of the ladder.
var errMissing = errors.New("nothing found")

// finals are our own verdicts: no rung changes them.
var finals = []error{
	ErrNoCgo, ErrNotLibrary, ErrConfig, ErrTokenAmbiguous, ErrPIN, ErrPINLocked, ErrPINFinalTry, ErrPINUnset,
	ErrAmbiguousKey, ErrKeyType, ErrKeyUse, ErrKeyExists, ErrKeyAttributes, ErrMechanism, ErrCorrupt, ErrFormat, ErrTooLarge,
	ErrDeadline, ErrStuck, ErrClosed,
}

// kindOf classifies an error of a call.
func kindOf(err error) kind {
	if errors.Is(err, ck.ErrStale) {
		return kindLogin
	}
	if errors.Is(err, ErrTokenNotFound) || errors.Is(err, ErrTokenGone) {
		return kindRestart // libraries that list their tokens at C_Initialize only do not see one come back
	}
	if errors.Is(err, errMissing) {
		return kindMissing
	}
	for _, f := range finals {
		if errors.Is(err, f) {
			return kindFinal
		}
	}
	var code ck.CKR
	if errors.As(err, &code) {
		return kinds[code]
	}
	return kindDevice
}

// verdict gives an error that ends a call its sentinel.
func verdict(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrTokenNotFound, ErrTokenGone, ErrSessions} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch kindOf(err) {
	case kindFinal:
		return err
	case kindMissing:
		return fmt.Errorf("%w: %w", ErrKeyNotFound, err)
	case kindMechanism:
		return fmt.Errorf("%w: %w", ErrMechanism, err)
	case kindPermission:
		return fmt.Errorf("%w: %w", ErrKeyUse, err)
	case kindData:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case kindBusy:
		return fmt.Errorf("%w: %w", ErrSessions, err)
	default:
		return fmt.Errorf("%w: %w", ErrDevice, err)
	}
}
