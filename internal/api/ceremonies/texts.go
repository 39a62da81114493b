package ceremonies

import (
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

// dialect has the texts by which clients of one set of paths recognise a refusal. Other refusals
// keep the text of package ceremony. No text contains a nonce.
type dialect struct {
	repeated     string // for a share that was given already
	running      string
	none         string
	unconfigured string
	notVerifying string
	due          string
	noRecovery   string
	shape        string // before what is wrong with the new shares
	length       string // before what is wrong with a share
	unproven     string // before what is wrong with a share to be verified
	stored       string // after a parameter of shares that has no meaning where none are made
	keyOnly      string // after any other such parameter
}

const repeated = "given key has already been provided during this "

var (
	vaultBarrier  = dialect{repeated: repeated + "generation operation", unproven: "rekey verification failed"}
	vaultRecovery = dialect{repeated: repeated + "rekey operation", unproven: "rekey verification failed"}
	baoRotation   = dialect{
		repeated: repeated + "rotation", running: "rotation already in progress", none: "no rotation in progress",
		unconfigured: "no rotation configuration found", notVerifying: "no rotation verification in progress",
		due: "rotation already finished; verification must be performed: give the new shares with the nonce " +
			"of the verification",
		noRecovery: "recovery keys not supported: the shares of a shamir seal unseal the server; rekey the target barrier",
		shape:      "invalid rotate seal configuration", unproven: "rotation verification failed",
		stored:  "not supported when using stored keys",
		keyOnly: "not supported when rotating the barrier key with recovery keys",
	}
	rootGeneration = dialect{
		repeated: repeated + "generation operation", running: "root generation already in progress for this namespace",
		length: "invalid key",
	}
)

// rekeyError gives a refusal the text of the path by which it came.
func rekeyError(q *api.Request, err error) error {
	switch {
	case !legacy(q):
		return baoRotation.reword(err)
	case q.Route.Target == recovery.Recovery:
		return vaultRecovery.reword(err)
	}
	return vaultBarrier.reword(err)
}

// rootError gives a refusal of generate-root its text.
func rootError(err error) error { return rootGeneration.reword(err) }

// verifyError gives a refusal of a share to be verified its text, which says that the verification
// failed.
func verifyError(q *api.Request, err error) error {
	switch {
	case errors.Is(err, recovery.ErrShareRepeated):
		return err
	case !errors.Is(err, recovery.ErrShareUnknown) && !errors.Is(err, recovery.ErrShareReplaced):
		return rekeyError(q, err)
	}
	d := &vaultBarrier
	if !legacy(q) {
		d = &baoRotation
	}
	return prefixed(err, d.unproven+"; incorrect key shares supplied")
}

func (d *dialect) reword(err error) error {
	var keyOnly *recovery.KeyOnlyError
	var configuration *ceremony.ConfigurationError
	switch {
	case errors.As(err, &keyOnly) && d.keyOnly != "":
		if keyOnly.What == "PGP key encryption" || keyOnly.What == "key backup" {
			return reworded(err, keyOnly.What+" "+d.stored)
		}
		return reworded(err, keyOnly.What+" "+d.keyOnly)
	case errors.As(err, &configuration) && d.shape != "":
		return reworded(err, d.shape+": "+configuration.Error())
	case errors.Is(err, recovery.ErrShareLength) && d.length != "":
		return prefixed(err, d.length)
	}
	for _, t := range []struct {
		err  error
		text string
	}{
		{recovery.ErrShareRepeated, d.repeated}, {ceremony.ErrRunning, d.running}, {ceremony.ErrNone, d.none},
		{ceremony.ErrNoConfiguration, d.unconfigured}, {recovery.ErrNotVerifying, d.notVerifying},
		{recovery.ErrVerificationDue, d.due}, {ceremony.ErrNoRecoveryShares, d.noRecovery},
	} {
		if t.text != "" && errors.Is(err, t.err) {
			return reworded(err, t.text)
		}
	}
	return err
}

// prefixed puts a text before a refusal's own.
func prefixed(err error, text string) error {
	var client *fault.Error
	if !errors.As(err, &client) {
		return err
	}
	return reworded(err, text+": "+client.Message)
}

// reworded is a refusal with another text; its cause stays.
func reworded(err error, text string) error {
	var client *fault.Error
	if !errors.As(err, &client) || client.Kind != fault.Invalid || client.Message == text {
		return err
	}
	return &fault.Error{Kind: client.Kind, Message: text, Cause: client.Cause}
}
