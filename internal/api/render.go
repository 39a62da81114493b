package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/listener"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
)

// Style is how an answer's data is rendered.
type Style uint8

const (
	// EnvelopeStyle puts the data under "data", beside request_id and other members.
	EnvelopeStyle Style = iota
	// DoubleStyle repeats the members of data at the top level, where old clients read them.
	DoubleStyle
	// BareStyle is the data alone.
	BareStyle
)

var styleNames = [...]string{"envelope", "double", "bare"}

// String returns the name in the pinned table.
func (s Style) String() string { return styleNames[s] }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKept is the size above which a buffer is not reused.
const maxKept = 64 << 10

// render sends an answer.
func (h *Handler) render(q *Request, a *Answer) {
	if a == nil {
		if q.Op == mount.Read || q.Op == mount.List || q.Op == mount.Scan {
			q.sendErrors(http.StatusNotFound)
			return
		}
		q.send(http.StatusNoContent, nil)
		return
	}
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotFound && a.Data == nil && a.Warnings == nil {
		q.send(a.Status, nil)
		return
	}
	if q.Sent { // the handler sent it as it was made
		if q.Truncated {
			panic(http.ErrAbortHandler)
		}
		return
	}
	if body, ok := a.Data.(Opaque); ok && q.Route.Style == BareStyle { // not copied: many clients may read it slowly
		q.send(max(a.Status, http.StatusOK), body)
		return
	}
	buf := q.buffer()
	defer func() {
		clear(buf.Bytes()) // it may contain a secret
		buf.Reset()
		if buf.Cap() <= maxKept && !q.wipes {
			buffers.Put(buf)
		}
	}()
	if err := q.write(buf, a); err != nil {
		h.refuse(q, fault.Wrap(err, fault.Internal, "the answer cannot be written as JSON"))
		return
	}
	q.send(max(a.Status, http.StatusOK), buf.Bytes())
}

// buffer is where the answer is rendered. One that may have shares gets its own, which [secret.Do]
// erases, and which does not move while it is filled: the memory that it left would keep shares.
func (q *Request) buffer() *bytes.Buffer {
	if !q.wipes {
		return buffers.Get().(*bytes.Buffer)
	}
	return bytes.NewBuffer(make([]byte, 0, longestShares))
}

// write renders an answer into buf.
func (q *Request) write(buf *bytes.Buffer, a *Answer) error {
	if q.Route.Style == BareStyle {
		return q.writeData(buf, a.Data)
	}
	buf.WriteByte('{')
	if q.Route.Style == DoubleStyle && a.Data != nil {
		if err := writeMembers(buf, a.Data); err != nil {
			return err
		}
	}
	return q.writeEnvelope(buf, a)
}

// writeEnvelope writes the members of the envelope, after those of data if these are at the top
// level, too.
func (q *Request) writeEnvelope(buf *bytes.Buffer, a *Answer) error {
	buf.WriteString(`"request_id":"`)
	if a.wrap == nil { // Vault leaves it empty there
		text, _ := q.id.AppendText(buf.AvailableBuffer()) // it always succeeds
		buf.Write(text)
	}
	buf.WriteString(`","lease_id":`)
	buf.Write(AppendString(buf.AvailableBuffer(), a.LeaseID))
	buf.WriteString(`,"renewable":`)
	buf.Write(strconv.AppendBool(buf.AvailableBuffer(), a.Renewable))
	buf.WriteString(`,"lease_duration":`)
	buf.Write(strconv.AppendInt(buf.AvailableBuffer(), int64(a.Lease), 10))
	buf.WriteString(`,"data":`)
	if err := q.writeData(buf, a.Data); err != nil {
		return err
	}
	buf.WriteString(`,"wrap_info":`)
	if err := writeOrNull(buf, a.wrap, a.wrap != nil); err != nil {
		return err
	}
	buf.WriteString(`,"warnings":`)
	if err := writeJSON(buf, a.Warnings); err != nil {
		return err
	}
	buf.WriteString(`,"auth":`)
	if err := writeOrNull(buf, a.Auth, a.Auth != nil); err != nil {
		return err
	}
	buf.WriteString("}\n")
	return nil
}

// send sends a complete body.
func (q *Request) send(status int, body []byte) {
	q.Sent, q.Status = true, status
	SetHeaders(q.Out.Header(), q.Front, status)
	// After the audit, whose entries have the headers of the answer.
	if q.wipes && secret.Erases && q.HTTP.ProtoMajor == 1 {
		q.Out.Header()["Connection"] = []string{"close"}
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		q.Out.WriteHeader(status)
		return
	}
	if !q.wipes {
		body = q.compressed(body)
	}
	q.Out.Header()["Content-Length"] = contentLength(len(body))
	if q.wipes && q.sendWiped(status, body) {
		return
	}
	listener.BoundAnswer(q.Out, q.HTTP, len(body))
	q.Out.WriteHeader(status)
	_, _ = q.Out.Write(body) // the client may have closed the connection
}

// shortLengths are the values of Content-Length for answers of usual sizes, as they come up. They
// are shared, and never changed.
var shortLengths [2048]atomic.Pointer[[1]string]

func contentLength(n int) []string {
	if n >= len(shortLengths) {
		return []string{strconv.Itoa(n)}
	}
	v := shortLengths[n].Load()
	if v == nil {
		v = &[1]string{strconv.Itoa(n)}
		shortLengths[n].Store(v)
	}
	return v[:]
}

// sendErrors writes the error envelope.
func (q *Request) sendErrors(status int, texts ...string) {
	if texts == nil {
		texts = []string{}
	}
	body, err := json.Marshal(struct {
		Errors []string `json:"errors"`
	}{texts})
	if err != nil { // strings always encode
		panic(err)
	}
	q.send(status, append(body, '\n'))
}
