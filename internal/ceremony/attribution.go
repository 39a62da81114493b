package ceremony

import (
	"context"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// Attribution receives whose share a call was given, for the audit trail, which never contains the
// share.
type Attribution struct {
	Target string // "barrier", "recovery"; "" where no share was recognised
	Number int
	Holder string // "" where holders have no names

	// Transcript is the head of the transcript after the call, as transcript.Head.String returns it;
	// "" for calls that are not of a ceremony. In the audit trail it proves later that no record up to
	// it was removed.
	Transcript string
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
		w.Target, w.Number, w.Holder = of.Target.String(), number, of.HolderName(number)
	}
}

// attributeHead reports the head of the transcript. A head that cannot be read fails the ceremony
// where it is needed, not here.
func attributeHead(ctx context.Context, b *barrier.Barrier) {
	if _, ok := ctx.Value(attributionKey{}).(*Attribution); !ok {
		return
	}
	if head, err := transcriptHead(ctx, b); err == nil {
		attribute(ctx, head)
	}
}

func attribute(ctx context.Context, head transcript.Head) {
	if w, ok := ctx.Value(attributionKey{}).(*Attribution); ok {
		w.Transcript = head.String()
	}
}
