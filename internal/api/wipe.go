package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// Requests whose body or answer may have shares leave as little of them in memory as possible: what
// their goroutine allocates is erased by [secret.Do]. In a build whose [secret.Do] erases, the
// answer is also written past the buffers of net/http, the read buffer of the connection is
// overwritten, and the connection is closed. Not covered are the buffers of HTTP/2 and of TLS
// records, which packages net/http and crypto/tls do not show, and those of a node that forwards
// the request.

// sharePaths begin the paths of such requests.
var sharePaths = []string{
	"sys/init", "sys/unseal", "sys/rekey", "sys/rotate/", "sys/generate-root", "sys/generate-recovery-token",
	"sys/recovery/", "sys/decode-token", "sys/authorize/", "sys/break-glass",
}

// carriesShares reports whether the body or the answer of a request may have shares.
func carriesShares(method, path string) bool {
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok || method == http.MethodGet || !strings.HasPrefix(rest, "sys/") {
		return false
	}
	return slices.ContainsFunc(sharePaths, func(p string) bool { return strings.HasPrefix(rest, p) })
}

// collector collects what [secret.Do] erases when it is collected. Some of these requests need no
// token, so that it takes at most a tenth of the time.
type collector struct {
	mu   sync.Mutex
	next time.Time
}

func (c *collector) collect() {
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	begun := time.Now()
	if begun.Before(c.next) {
		return // Go collects within two minutes
	}
	runtime.GC()
	c.next = time.Now().Add(9 * time.Since(begun))
}

// serveShares answers such a request.
func (h *Handler) serveShares(q *Request, serve func()) {
	q.wipes = true
	secret.Do(serve)
	clear(q.body)
	q.body, q.Data = nil, nil
	if q.Status/100 == 2 && secret.Erases {
		h.Shared.garbage.collect()
	}
}

// sendWiped writes a whole answer to the connection, past the buffers of net/http, and closes the
// connection. It returns false where it did nothing: the connection is not one of HTTP/1, or the
// client has not sent all of its body.
func (q *Request) sendWiped(status int, body []byte) bool {
	if !secret.Erases {
		return false // the handler's own copies stay on the heap, so nothing is gained
	}
	// Closing a connection with unread bytes resets it, and the client may lose the answer.
	if q.HTTP.ProtoMajor != 1 || q.HTTP.ContentLength != 0 && !q.bodyRead {
		return false
	}
	header := q.Out.Header().Clone()
	conn, buffered, err := http.NewResponseController(q.Out).Hijack()
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // the client has its answer, or is gone
	buffered.Reader.Reset(zeros{})
	_, _ = buffered.Peek(buffered.Reader.Size()) // fills the whole buffer
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = header.Write(&head) // a buffer does not fail
	head.WriteString("\r\n")
	out := append(head.Bytes(), body...)
	defer clear(out)
	_ = conn.SetWriteDeadline(time.Now().Add(wipedWrite))
	_, _ = conn.Write(out) // the client may have closed the connection
	return true
}

// wipedWrite bounds how long a client may take to accept such an answer.
const wipedWrite = 10 * time.Second

type zeros struct{}

// Read fills p.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// longestShares is more than an answer with 255 shares has, in hexadecimal and in base64.
const longestShares = 64 << 10

// zeroText makes package json's buffer so long that no answer with shares makes it move.
var zeroText = strings.Repeat("0", longestShares)

// writeData writes the data of an answer. Package json keeps its buffers, and [secret.Do] does not
// erase one that another request allocated. So where the answer may have shares, another text
// first makes the buffer long enough, because what it leaves when it grows would keep a part of
// them, and overwrites it afterwards.
func (q *Request) writeData(buf *bytes.Buffer, v any) error {
	if !q.wipes {
		return writeJSON(buf, v)
	}
	encodeZeros()
	defer encodeZeros()
	return writeJSON(buf, v)
}

func encodeZeros() {
	_ = json.NewEncoder(io.Discard).Encode(zeroText) // strings always encode
}
