package hsm

import (
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// kind is the recovery that an error asks for.
type kind uint8

const (
	kindDevice     kind = iota // the cause is unknown: escalate level by level
	kindSession                // this session is damaged: open a new one
	kindLogin                  // the login is lost: find the token and log in
	kindRestart                // the library is not initialised, or does not see the token: restart it
	kindMissing                // an object is missing; reported only if a restart does not find it either
	kindMechanism              // the token or the key does not support the operation
	kindPermission             // the key's attributes forbid it
	kindData                   // the data are wrong
	kindBusy                   // the token has no free session
	kindFinal                  // this package's own error: not retried
)

// kinds classifies the return values. A code that is not listed is kindDevice: vendors have
// hundreds of codes, and escalation ends in any case.
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
	ck.ArgumentsBad:          kindMechanism, // SoftHSM's answer to an OAEP hash that it lacks
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

// errMissing: a lookup found nothing. It becomes ErrKeyNotFound at the last recovery level.
var errMissing = errors.New("nothing found")

// finals are this package's own errors, which no recovery level changes.
var finals = []error{
	ErrNoCgo, ErrNotLibrary, ErrConfig, ErrTokenAmbiguous, ErrPIN, ErrPINLocked, ErrPINFinalTry, ErrPINUnset,
	ErrAmbiguousKey, ErrKeyType, ErrKeyUse, ErrKeyExists, ErrKeyAttributes, ErrKeyProtection, ErrMechanism,
	ErrReadOnly, ErrTokenFull,
	ErrCorrupt, ErrNoMAC, ErrFormat,
	ErrTooLarge,
	ErrDeadline, ErrStuck, ErrClosed,
}

// kindOf classifies a call's error.
func kindOf(err error) kind {
	if errors.Is(err, ck.ErrStale) {
		return kindLogin
	}
	if errors.Is(err, ErrTokenNotFound) || errors.Is(err, ErrTokenGone) {
		return kindRestart // some libraries list tokens at C_Initialize only
	}
	if errors.Is(err, ErrWorker) {
		return kindRestart
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

// verdict adds the exported sentinel error to an error that ends a call.
func verdict(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrTokenNotFound, ErrTokenGone, ErrSessions, ErrWorker} {
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
