package listener

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A client that asks and does not read holds a connection, and what is to be sent, for as long as
// it likes: net/http has a deadline for whole answers alone, and a snapshot may take hours. So a
// client must take a part of an answer within a minute. HTTP/2 has streams within a connection,
// which their client can stop one by one; their answers have deadlines.
const (
	writeStall  = time.Minute
	writePart   = 64 << 10
	streamWrite = 10 * time.Minute // of a stream, beside the time of its request
)

// writing is the deadline of writes.
type writing struct {
	stall time.Duration // in which a part must be written

	mu    sync.Mutex
	limit time.Time // that the server has set; zero: none
	timer time.Time // when the connection's own deadline fires; zero: never
}

// Write writes in parts, each with a deadline.
func (c *patientConn) Write(b []byte) (n int, err error) {
	for {
		part := b[n:min(len(b), n+writePart)]
		if err := c.extend(); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(part)
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}

// extend sets the connection's deadline where less than half of the time is left.
func (c *patientConn) extend() error {
	w := &c.writing
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	until := now.Add(w.stall)
	if !w.limit.IsZero() && w.limit.Before(until) {
		until = w.limit
	}
	if w.timer.Equal(until) || !w.timer.After(until) && w.timer.Sub(now) > w.stall/2 {
		return nil
	}
	w.timer = until
	return c.Conn.SetWriteDeadline(until)
}

// SetWriteDeadline sets the deadline of writes, those under way included.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	w := &c.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit, w.timer = t, t
	return c.Conn.SetWriteDeadline(t)
}

// streamsKey finds, in a request's context, that the configuration sets no deadline for answers.
type streamsKey struct{}

// boundedBy gives the streams of HTTP/2 a deadline.
func boundedBy(h http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(within)) // streams have deadlines
		}
		h.ServeHTTP(w, r)
	})
}

// BoundAnswer gives a client a minute, and a second for each 16 KiB, to take an answer of so many
// bytes over a stream of HTTP/2, unless the configuration has a time for answers.
func BoundAnswer(w http.ResponseWriter, r *http.Request, bytes int) {
	if r.ProtoMajor != 2 || r.Context().Value(streamsKey{}) == nil {
		return
	}
	within := writeStall + time.Duration(bytes>>14)*time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(within)) // an answer that is kept in memory has none
}

func withStreams(ctx context.Context, unlimited bool) context.Context {
	if !unlimited {
		return ctx
	}
	return context.WithValue(ctx, streamsKey{}, true)
}
