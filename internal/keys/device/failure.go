package device

import (
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// remedies are what a client learns of a failure. The seals' own remedies name addresses and
// parameters of the server.
var remedies = map[seals.Class]string{
	seals.Unreachable:     "try again; if it lasts, the operator checks the device or service and the server's log",
	seals.Throttled:       "send fewer requests at once, or have the limit of the device or service raised",
	seals.Denied:          "have the operator correct the credentials of its configuration",
	seals.KeyDisabled:     "have the key enabled in the device or service",
	seals.PendingDeletion: "have the deletion of the key cancelled at once",
	seals.KeyGone:         "have the key restored in the device, or its configuration corrected",
	seals.WrongKey:        "have the key restored that the version was made with; another one has its name",
	seals.Misconfigured:   "have its configuration corrected; the server's log has the cause",
	seals.Corrupt:         "the device or service answered something that is not its own; the server's log has the cause",
	seals.Unknown:         "the server's log has the cause",
}

// failed is an error of a device as a client sees it: the class and what to do. The cause is for
// the log.
func failed(name string, err error) error {
	var ours *fault.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	class := seals.ClassOf(err)
	return &fault.Error{Kind: fault.Unavailable, Cause: err,
		Message: "the key " + name + " is unavailable in its device (" + string(class) + "): " + remedies[class]}
}

// refused is an error of a configuration that was tried when it was written.
func refused(name string, err error) error {
	var ours *fault.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	class := seals.ClassOf(err)
	kind := fault.Invalid
	if class.Transient() {
		kind = fault.Unavailable
	}
	return &fault.Error{Kind: kind, Cause: err, Message: "the key " + name + " could not be used, and nothing was " +
		"stored (" + string(class) + "): " + remedies[class]}
}

// errWrongKey is the cause of [seals.WrongKey] where a device has another key under a name.
var errWrongKey = errors.New("the device has another key under the name of this one")
