package tpm2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealgate/sealgate/seals"
)

// Causes of failures.
var (
	errPINRefused = errors.New("the TPM refused the PIN, which is not sent again")
	errNoPIN      = errors.New("what was sealed needs a PIN, and none is configured")
	errLockedOut  = errors.New("the TPM locked itself out after too many wrong authorisations")
	errLastTry    = errors.New("the PIN is not sent, because one more failure locks the TPM out")
	errNotOurs    = errors.New("the TPM did not make the sealed object, or the object is damaged")
)

// failure classifies an error.
func (w *Wrapper) failure(doing string, err error) error {
	named := fmt.Errorf("seal \"tpm2\" %q at %s: %s: %w", w.name, w.settings.device, doing, err)
	var known *seals.Failure
	switch {
	case errors.As(err, &known):
		known.Err = fmt.Errorf("seal \"tpm2\" %q at %s: %s: %w", w.name, w.settings.device, doing, known.Err)
		return known
	case errors.Is(err, errPINRefused):
		return final(named, "correct pin and reload; it is not sent again before that, because the TPM counts wrong ones")
	case errors.Is(err, errLastTry):
		return final(named, "wait until the TPM has forgotten failures, find out which program causes them, or set "+
			"pin_final_try = true and restart")
	case errors.Is(err, errLockedOut), errors.Is(err, tpm2.TPMRCLockout):
		return seals.Fail(seals.Denied, named, "wait until the TPM recovers, or reset its lock-out with the lock-out "+
			"authorisation (tpm2_dictionarylockout --clear-lockout)")
	case errors.Is(err, errNoPIN):
		return seals.Fail(seals.Misconfigured, named, "set pin")
	case errors.Is(err, errNotOurs):
		return seals.Fail(seals.Corrupt, named, "restore the stored seal record from a backup")
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCPCRChanged):
		return seals.Fail(seals.Denied, named, "the registers of pcrs differ from when the root key was sealed: boot what "+
			"was measured then, or unseal by another seal or by shares and rotate the root key")
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCHierarchy):
		return seals.Fail(seals.Denied, named, "the owner hierarchy must be enabled and have an empty authorisation")
	case errors.Is(err, fs.ErrPermission):
		return seals.Fail(seals.Denied, named, "let this server's user open the device: add it to the group tss")
	case errors.Is(err, fs.ErrNotExist):
		return seals.Fail(seals.Unreachable, named, "check that the machine has a TPM 2.0 and that device names it")
	case errors.Is(err, errAnswer):
		return seals.Fail(seals.Corrupt, named, "check that device names a TPM 2.0")
	case errors.Is(err, context.Canceled):
		return seals.Fail(seals.Unreachable, named, "the request was cancelled before the TPM answered; try again")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return seals.Fail(seals.Unreachable, named, "check that the TPM answers; raise timeout if it is only slow")
	}
	return seals.Fail(seals.Unreachable, named, "check the kernel's log for messages of the TPM")
}

// final is a failure after which a retry does harm.
func final(err error, remedy string) error {
	f := seals.Fail(seals.Denied, err, "%s", remedy)
	f.Final = true
	return f
}
