package ceremony

import (
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

// StartFault gives the contract's texts to parameters that are refused.
func StartFault(p recovery.Purpose, err error) error {
	switch {
	case errors.Is(err, recovery.ErrShape):
		return misconfigured(p, err)
	case errors.Is(err, recovery.ErrParams), errors.Is(err, recovery.ErrPurpose):
		return fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return err
}

// misconfigured puts the contract's text before what is wrong with the new shares.
func misconfigured(p recovery.Purpose, err error) error {
	what := "recovery"
	if p == recovery.PurposeRekeyBarrier {
		what = "rekey seal"
	}
	return fault.Wrap(&ConfigurationError{err}, fault.Invalid, "invalid %s configuration: %v", what, err)
}

// ShareFault returns the error for the holder of a share. Every cause is the request's fault, and
// no text contains the nonce.
func ShareFault(err error) error { return fault.Wrap(err, fault.Invalid, "%v", err) }
