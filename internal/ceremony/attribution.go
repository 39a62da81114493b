package ceremony

import (
	"context"

	"github.com/sealgate/sealgate/recovery"
)

// Attribution receives whose share a call was given, for the audit trail, which never contains the
// share.
type Attribution struct {
	Target string // "barrier", "recovery"; "" where no share was recognised
	Number int
	Holder string // "" where holders have no names
}

type attributionKey struct{}

// WithAttribution makes calls with this context report to w whose share they recognise, also where
// they fail.
func WithAttribution(ctx context.Context, w *Attribution) context.Context {
	return context.WithValue(ctx, attributionKey{}, w)
}

// Attribute reports that a share was recognised as number of a share set.
func Attribute(ctx context.Context, of *recovery.ShareSet, number int) {
	if w, ok := ctx.Value(attributionKey{}).(*Attribution); ok && of != nil {
		*w = Attribution{Target: of.Target.String(), Number: number, Holder: of.HolderName(number)}
	}
}
