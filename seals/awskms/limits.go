package awskms

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/seals"
)

var _ seals.Limiter = (*Wrapper)(nil)

// Limits reports the end of session credentials. They are renewed before it; where that failed, the
// old ones are used until they end. Sessions that the stanza or the environment holds do not show
// when they end.
func (w *Wrapper) Limits(context.Context) ([]seals.Limit, error) {
	if w.conn.keeper == nil {
		return nil, nil
	}
	c := w.conn.keeper.kept.Load()
	if c == nil || !c.value.CanExpire {
		return nil, nil
	}
	late := w.conn.keeper.now().After(c.until.Add(lateRenewal))
	return []seals.Limit{seals.Ends("session credentials", time.Time{}, c.value.Expires, !late,
		"see why their source, "+c.value.Source+", gives no new ones")}, nil
}

// lateRenewal is how long after its time a renewal counts as failed: calls are a minute apart.
const lateRenewal = 2 * time.Minute
