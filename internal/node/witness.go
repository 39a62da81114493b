package node

import (
	"context"

	"github.com/sealgate/sealgate/recovery"
)

// Witness learns whose share a call was given: for the audit trail, which never has a share's value.
type Witness struct {
	Target string // "barrier", "recovery"; "" where no share was recognised
	Number int
	Holder string // "" where holders have no names
}

type witnessKey struct{}

// WithWitness makes calls with this context tell w whose share they recognise, whatever comes of it.
func WithWitness(ctx context.Context, w *Witness) context.Context {
	return context.WithValue(ctx, witnessKey{}, w)
}

// tell is called where a share is recognised as one of a custody's.
func tell(ctx context.Context, c *recovery.Custody, number int) {
	if w, ok := ctx.Value(witnessKey{}).(*Witness); ok && c != nil {
		*w = Witness{Target: c.Target.String(), Number: number, Holder: c.HolderName(number)}
	}
}
