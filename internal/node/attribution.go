package node

import (
	"context"

	"github.com/sealgate/sealgate/recovery"
)

// Attribution learns whose share a call was given: for the audit trail, which never has a share's value.
type Attribution struct {
	Target string // "barrier", "recovery"; "" where no share was recognised
	Number int
	Holder string // "" where holders have no names
}

type attributionKey struct{}

// WithAttribution makes calls with this context tell w whose share they recognise, whatever comes of it.
func WithAttribution(ctx context.Context, w *Attribution) context.Context {
	return context.WithValue(ctx, attributionKey{}, w)
}

// tell is called where a share is recognised as one of a custody's.
func tell(ctx context.Context, c *recovery.ShareSet, number int) {
	if w, ok := ctx.Value(attributionKey{}).(*Attribution); ok && c != nil {
		*w = Attribution{Target: c.Target.String(), Number: number, Holder: c.HolderName(number)}
	}
}
