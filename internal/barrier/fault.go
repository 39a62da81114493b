package barrier

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// FaultSealed is returned to clients while the barrier is sealed. Command-line clients look for
// these words.
var FaultSealed = fault.New(fault.Sealed, "Vault is sealed")

// Fault turns an error of a barrier or its storage into one for a client; nil stays nil, and an
// error that is a client's already is returned as it is. failed says what could not be done.
func Fault(err error, failed string) error {
	var client *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &client):
		return err
	case errors.Is(err, ErrSealed):
		return FaultSealed
	case errors.Is(err, storage.ErrFull):
		return fault.Wrap(err, fault.Unavailable,
			"%s: the storage is full; nothing was changed; free some space and try again", failed)
	case errors.Is(err, storage.ErrCorrupt): // the name of the entry is no secret
		return fault.Wrap(err, fault.Internal, "%s: %v", failed, err)
	case errors.Is(err, storage.ErrFenced):
		return fault.Wrap(err, fault.Unavailable,
			"%s: another node has become the leader; nothing was changed; try again", failed)
	case storage.ClassOf(err) != "":
		return fault.Wrap(err, fault.Unavailable, "%s: the storage fails: %s; %s", failed, storage.ClassOf(err),
			storage.ClassOf(err).Remedy())
	case errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Unavailable, "%s: the storage did not answer in time; try again", failed)
	default:
		return fault.Wrap(err, fault.Internal, "%s: the storage failed; the log has the cause", failed)
	}
}
