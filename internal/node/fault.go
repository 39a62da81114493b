package node

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// sealFault tells a client why a seal failed: class, cause and remedy, which name no secret.
func sealFault(err error, what string) error {
	var client *fault.Error
	if errors.As(err, &client) {
		return err
	}
	f := seals.Classify(err)
	kind := fault.Unavailable
	if f.Class == seals.Misconfigured {
		kind = fault.Invalid
	}
	return fault.Wrap(err, kind, "%s: %s: %v; %s", what, f.Class, f.Err, f.Remedy)
}

const remedyCorrupt = "restore the storage from a backup"

// diagnosis says why the node is not unsealed: a seal's failure with its class, or what is wrong with the storage.
func diagnosis(err error) (class seals.Class, cause, remedy string) {
	var f *seals.Failure
	switch {
	case errors.As(err, &f):
		return f.Class, f.Err.Error(), f.Remedy
	case errors.Is(err, storage.ErrCorrupt):
		return seals.Corrupt, err.Error(), remedyCorrupt
	case fault.Is(err, fault.Unavailable):
		return seals.Unreachable, err.Error(), "see whether the storage answers"
	}
	f = seals.Classify(err)
	return f.Class, f.Err.Error(), f.Remedy
}

// storeFault tells a client why storage failed, as far as it can act on it. Errors that are the client's already pass.
func storeFault(err error, what string) error {
	var client *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &client):
		return err
	case errors.Is(err, barrier.ErrSealed):
		return errSealed
	case errors.Is(err, storage.ErrFull):
		return fault.Wrap(err, fault.Unavailable, "%s: no space is left in storage; nothing was changed; make room and try again", what)
	case errors.Is(err, storage.ErrCorrupt): // which entry it is, is no secret
		return fault.Wrap(err, fault.Internal, "%s: %v", what, err)
	case errors.Is(err, storage.ErrFenced):
		return fault.Wrap(err, fault.Unavailable, "%s: another node has become the leader; nothing was changed; try again", what)
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Unavailable, "%s: storage did not answer in time", what)
	default:
		return fault.Wrap(err, fault.Internal, "%s: storage failed", what)
	}
}
