package api

import (
	"context"
	"net/http"
	"time"
)

const (
	snapshotTime = 2 * time.Hour // bounds a transfer, in place of the usual deadline
	MaxSnapshot  = 64 << 30
)

// Transfer returns the context of a request that may take long, and lifts the connection's
// deadlines.
func (q *Request) Transfer(ctx context.Context) (context.Context, context.CancelFunc) {
	out := http.NewResponseController(q.Out)
	_ = out.SetReadDeadline(time.Time{}) // an error means that the connection has none
	_ = out.SetWriteDeadline(time.Time{})
	long, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotTime)
	stop := context.AfterFunc(q.HTTP.Context(), cancel)
	return long, func() { stop(); cancel() }
}
