package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
)

// replayMost is the largest body that is kept, so that it can be sent to the next leader if this
// one did not carry out the request.
const replayMost = 2 << 20

// NoForwarding is the header of clients that want to be redirected to the leader.
const NoForwarding = "X-Vault-No-Request-Forwarding"

// forward lets the leader answer. With again nothing was carried out, and another leader may
// answer.
func (h *Handler) forward(ctx context.Context, q *Request) (a *Answer, again bool, err error) {
	l := h.Node.Cluster().Leader()
	if l == nil || l.Self {
		return nil, true, nil
	}
	if q.HTTP.Header[NoForwarding] != nil || h.NoForwarding || !l.Reachable() {
		return h.redirectToLeader(q, l)
	}
	if q.archive() {
		var cancel context.CancelFunc
		ctx, cancel = q.Transfer(ctx)
		defer cancel()
	}
	if err := h.keepBody(ctx, q); err != nil {
		return nil, false, err
	}
	r, whole := q.toLeader(ctx)
	r, cancel := h.untilNext(r, q, l)
	defer cancel()
	resp, err := l.Do(r)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err != nil && cluster.Unsent(err), err != nil && !q.changes():
		return nil, whole, fault.Wrap(err, fault.Unavailable, "the active node did not take the request; try again")
	case err != nil:
		return nil, false, fault.Wrap(errors.Join(errInDoubt, err), fault.Unavailable, "%v", errInDoubt)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if cluster.IsUndone(resp.Header) {
		return nil, whole, errUndone
	}
	return h.relay(q, resp)
}

// untilNext gives up a read that waits for a leader once another node leads, which is then asked
// instead.
func (h *Handler) untilNext(r *http.Request, q *Request, l *ha.Leader) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	if !q.changes() && !q.lasting() {
		go func() {
			for {
				changed := h.Node.Cluster().Changed()
				if now := h.Node.Cluster().Leader(); now != nil && now != l {
					cancel()
				}
				select {
				case <-ctx.Done():
					return
				case <-changed:
				}
			}
		}()
	}
	return r.WithContext(ctx), cancel
}

// redirectToLeader sends the client to the leader.
func (h *Handler) redirectToLeader(q *Request, l *ha.Leader) (*Answer, bool, error) {
	if l.APIAddr == "" {
		return nil, false, errNoAddress
	}
	to := strings.TrimSuffix(l.APIAddr, "/") + q.HTTP.URL.EscapedPath()
	if q.HTTP.URL.RawQuery != "" {
		to += "?" + q.HTTP.URL.RawQuery
	}
	q.redirect(to)
	return &Answer{}, false, nil
}

// redirect answers with 307.
func (q *Request) redirect(to string) {
	q.Out.Header()["Location"] = []string{to}
	delete(q.Out.Header(), "Content-Type")
	q.send(http.StatusTemporaryRedirect, nil)
}

// hopByHop are the headers of one connection (RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Expect", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// toLeader returns the request for the leader. With whole its body is kept, and it can be sent
// again.
func (q *Request) toLeader(ctx context.Context) (r *http.Request, whole bool) {
	r = q.HTTP.Clone(ctx)
	for _, name := range hopByHop {
		r.Header.Del(name)
	}
	origin := cluster.Origin{Remote: cmp.Or(q.HTTP.RemoteAddr, "@"), TLS: q.HTTP.TLS}
	if deadline, ok := ctx.Deadline(); ok {
		origin.Left = max(time.Until(deadline), time.Millisecond)
	}
	origin.Mark(r.Header)
	if r.Header["User-Agent"] == nil {
		r.Header["User-Agent"] = []string{""} // or Go would add its own, which the audit trail may show
	}
	r.TransferEncoding, r.Close = nil, false
	switch {
	case q.bodyRead:
		// With GetBody the transport can tell a request that a stopping leader did not process from one
		// whose outcome is unknown.
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(q.body)), nil }
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.body)), int64(len(q.body))
		if len(q.body) == 0 {
			r.Body, r.GetBody = http.NoBody, nil
		}
		return r, true
	case q.archive() && q.changes():
		r.Body = q.HTTP.Body // its route leaves the body to the handler
		return r, false
	case !q.hasBody():
		r.Body, r.ContentLength = http.NoBody, 0
		return r, true
	}
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(q.body), q.HTTP.Body))
	return r, false
}

// keepBody reads a small body into memory, so that it can be sent again. It reads a larger one only
// for a known token: an unauthenticated client cannot fill the memory. What is not kept is sent as
// it comes.
func (h *Handler) keepBody(ctx context.Context, q *Request) error {
	if q.bodyRead || !q.hasBody() || q.HTTP.ContentLength > replayMost || q.body != nil || !h.mayFill(ctx, q) {
		return nil
	}
	body, err := q.readUpTo(min(q.bodyLimit(), replayMost))
	if err != nil {
		return errRead(err)
	}
	q.body = body
	if int64(len(body)) > q.bodyLimit() {
		return TooLarge(q.bodyLimit())
	}
	q.bodyRead = int64(len(body)) <= replayMost
	return nil
}

// mayFill reports whether a body may be read before the leader has authorised the request.
func (h *Handler) mayFill(ctx context.Context, q *Request) bool {
	if q.bodyLimit() <= KeyBody {
		return true
	}
	role, err := h.Node.Role()
	if err != nil {
		return false
	}
	q.ReadToken()
	defer func() { q.Token = "" }()
	_, err = role.Tokens().Bearer(ctx, q.Token, q.HTTP.RemoteAddr)
	return err == nil
}

// relay sends the leader's answer to the client as it comes.
func (h *Handler) relay(q *Request, resp *http.Response) (*Answer, bool, error) {
	header := q.Out.Header()
	cluster.Strip(resp.Header)
	for _, name := range hopByHop {
		resp.Header.Del(name)
	}
	for name, values := range resp.Header {
		header[name] = values
	}
	if resp.Header["Content-Type"] == nil {
		delete(header, "Content-Type")
	}
	SetHeaders(header, q.Front, resp.StatusCode)
	q.Sent, q.Status = true, resp.StatusCode
	q.Out.WriteHeader(resp.StatusCode)
	out := http.NewResponseController(q.Out)
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, err := q.Out.Write(buf[:n]); err != nil {
				return &Answer{}, false, nil // the client has closed the connection
			}
			if resp.ContentLength < 0 {
				_ = out.Flush() // the next write reports a closed connection
			}
		}
		if errors.Is(err, io.EOF) {
			return &Answer{}, false, nil
		}
		if err != nil {
			panic(http.ErrAbortHandler) // a truncated answer must not look complete
		}
	}
}
