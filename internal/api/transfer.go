package api

import (
	"context"
	"net/http"
	"time"
)

const (
	snapshotTime = 2 * time.Hour // bounds a transfer, in place of the deadline of other requests
	MaxSnapshot  = 64 << 30
)

// transfer returns the context of a request that may take long, and lifts the connection's deadlines.
func (q *Request) Transfer(ctx context.Context) (context.Context, context.CancelFunc) {
	out := http.NewResponseController(q.Out)
	_ = out.SetReadDeadline(time.Time{}) // where the connection has none there is none to lift
	_ = out.SetWriteDeadline(time.Time{})
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotTime)
	stop := context.AfterFunc(q.HTTP.Context(), cancel)
	return long, func() { stop(); cancel() }
}
