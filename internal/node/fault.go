package node

import (
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// sealFault returns to a client why a seal failed: class, cause and remedy, which contain no
// secret.
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

// storageFault returns to a client the class of a storage's failure. The details, such as
// addresses, are for the log and for sys/seal-status.
func storageFault(err error, what string) error {
	class := storage.ClassOf(err)
	if class == "" {
		return fault.Wrap(err, fault.Unavailable, "%s; the server's log has the cause", what)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: %s; %s", what, class, class.Remedy())
}

// diagnosis returns why the node is not unsealed: a seal's failure with its class, or the
// storage's.
func diagnosis(err error) (class seals.Class, cause, remedy string) {
	var f *seals.Failure
	switch {
	case errors.As(err, &f):
		return f.Class, f.Err.Error(), f.Remedy
	case errors.Is(err, storage.ErrCorrupt):
		return seals.Corrupt, details(err), remedyCorrupt
	case storage.ClassOf(err) != "":
		return seals.Unreachable, details(err), storage.ClassOf(err).Remedy()
	case fault.Is(err, fault.Unavailable):
		return seals.Unreachable, err.Error(), "check that the storage answers"
	}
	f = seals.Classify(err)
	return f.Class, f.Err.Error(), f.Remedy
}

// details returns the error with what a client does not get.
func details(err error) string {
	var client *fault.Error
	if errors.As(err, &client) && client.Cause != nil {
		return client.Message + ": " + client.Cause.Error()
	}
	return err.Error()
}
