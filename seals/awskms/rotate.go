package awskms

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sealgate/sealgate/seals"
)

var _ seals.KeyRotator = (*Wrapper)(nil)

// rotator is what RotateKey needs of a client besides [API].
type rotator interface {
	RotateKeyOnDemand(context.Context, *kms.RotateKeyOnDemandInput,
		...func(*kms.Options)) (*kms.RotateKeyOnDemandOutput, error)
}

// rotatePoll is the time between requests for the new material's id.
const rotatePoll = 250 * time.Millisecond

// RotateKey calls RotateKeyOnDemand, which needs kms:RotateKeyOnDemand, and waits for the new
// material as long as a call may take. AWS makes it in the background and limits how often a key
// is rotated on demand.
func (w *Wrapper) RotateKey(ctx context.Context) error {
	meta, err := w.describe(ctx, true)
	if err != nil {
		return err
	}
	before := aws.ToString(meta.CurrentKeyMaterialId)
	_, err = ask(ctx, w, "rotate", aws.ToString(meta.Arn), rotateCall, &kms.RotateKeyOnDemandInput{KeyId: meta.Arn})
	if forbidden(err) {
		return seals.Fail(seals.Denied, errors.New("the credentials may not rotate the key"), "allow them "+
			"kms:RotateKeyOnDemand, or rotate the key by other means: the server follows automatically")
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.set.timeout)
	defer cancel()
	tick := time.NewTicker(rotatePoll)
	defer tick.Stop()
	for {
		if meta, err := w.describe(ctx, true); err == nil && aws.ToString(meta.CurrentKeyMaterialId) != before {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil // the rotation continues, and the caller sees that the version is the old one
		case <-tick.C:
		}
	}
}

func rotateCall(ctx context.Context, a API, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	r, ok := a.(rotator)
	if !ok {
		return nil, errors.New("this client cannot rotate keys")
	}
	return r.RotateKeyOnDemand(ctx, in)
}
