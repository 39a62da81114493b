package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// style is how an answer's data is rendered.
type style uint8

const (
	// envelopeStyle puts the data under "data", beside request_id and the rest.
	envelopeStyle style = iota
	// doubleStyle has the members of data at the top level too: old clients read them there.
	doubleStyle
	// bareStyle is the data alone.
	bareStyle
)

var styleNames = [...]string{"envelope", "double", "bare"}

// String returns the name in the pinned table.
func (s style) String() string { return styleNames[s] }

// answer is what a handler gives back. A nil answer is 404 to a read or list and 204 to a write.
type answer struct {
	status   int // 0: 200
	data     any // json.RawMessage goes out as it is
	lease    int
	warnings []string

	leaseID   string
	renewable bool        // the lease
	auth      *authAnswer // a token that was made or renewed
	created   bool        // auth is a new token, which nobody else knows
	wrap      *wrapAnswer // the answer itself lies in a wrapping token
}

// authAnswer is a token as the answer that makes it tells of it.
type authAnswer struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int64             `json:"lease_duration"` // seconds
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      string            `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement any               `json:"mfa_requirement"` // always null
	NumUses        int64             `json:"num_uses"`
}

// wrapAnswer is a wrapping token.
type wrapAnswer struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"` // seconds
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// done is the answer to a read that has found nothing, and to a write that has nothing to tell.
func done() (*answer, error) { return nil, nil }

func shown(data any) (*answer, error) { return &answer{data: data}, nil }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKept is the size beyond which a buffer is left to the garbage collector.
const maxKept = 64 << 10

// render sends an answer.
func (h *handler) render(q *request, a *answer) {
	if a == nil {
		if q.op == mount.Read || q.op == mount.List || q.op == mount.Scan {
			q.sendErrors(http.StatusNotFound)
			return
		}
		q.send(http.StatusNoContent, nil)
		return
	}
	if a.status == http.StatusNoContent {
		q.send(a.status, nil)
		return
	}
	if q.sent { // the handler has written it as it came
		if q.cut {
			panic(http.ErrAbortHandler)
		}
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		clear(buf.Bytes()) // it may have held a secret
		buf.Reset()
		if buf.Cap() <= maxKept {
			buffers.Put(buf)
		}
	}()
	if err := q.write(buf, a); err != nil {
		h.refuse(q, fault.Wrap(err, fault.Internal, "the answer cannot be written as JSON"))
		return
	}
	q.send(max(a.status, http.StatusOK), buf.Bytes())
}

// write renders an answer into buf.
func (q *request) write(buf *bytes.Buffer, a *answer) error {
	if q.route.Style == bareStyle {
		return writeJSON(buf, a.data)
	}
	buf.WriteByte('{')
	if q.route.Style == doubleStyle && a.data != nil {
		if err := writeMembers(buf, a.data); err != nil {
			return err
		}
	}
	return q.writeEnvelope(buf, a)
}

// writeEnvelope writes what is below the members of data, if those are at the top level too.
func (q *request) writeEnvelope(buf *bytes.Buffer, a *answer) error {
	buf.WriteString(`"request_id":"`)
	if a.wrap == nil { // Vault leaves it empty there
		buf.WriteString(q.id())
	}
	buf.WriteString(`","lease_id":`)
	buf.Write(appendString(buf.AvailableBuffer(), a.leaseID))
	buf.WriteString(`,"renewable":`)
	buf.Write(strconv.AppendBool(buf.AvailableBuffer(), a.renewable))
	buf.WriteString(`,"lease_duration":`)
	buf.Write(strconv.AppendInt(buf.AvailableBuffer(), int64(a.lease), 10))
	buf.WriteString(`,"data":`)
	if err := writeJSON(buf, a.data); err != nil {
		return err
	}
	buf.WriteString(`,"wrap_info":`)
	if err := writeOrNull(buf, a.wrap, a.wrap != nil); err != nil {
		return err
	}
	buf.WriteString(`,"warnings":`)
	if err := writeJSON(buf, a.warnings); err != nil {
		return err
	}
	buf.WriteString(`,"auth":`)
	if err := writeOrNull(buf, a.auth, a.auth != nil); err != nil {
		return err
	}
	buf.WriteString("}\n")
	return nil
}

func writeOrNull(buf *bytes.Buffer, v any, there bool) error {
	if !there {
		buf.WriteString("null")
		return nil
	}
	return writeJSON(buf, v)
}

// opaque is a body that is not JSON: it goes out as it is, of bare routes alone, and the audit trail does not show it.
type opaque []byte

// writeJSON writes a value without a newline behind it.
func writeJSON(buf *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case json.RawMessage:
		buf.Write(v)
		return nil
	case opaque:
		buf.Write(v)
		return nil
	case []string:
		if v == nil {
			buf.WriteString("null")
			return nil
		}
	}
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1)
	return nil
}

// writeMembers writes an object without its braces, and a comma behind where there is any member.
func writeMembers(buf *bytes.Buffer, v any) error {
	start := buf.Len()
	if err := writeJSON(buf, v); err != nil {
		return err
	}
	object := buf.Bytes()[start:]
	if len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}' {
		return fmt.Errorf("api: %T is no object", v)
	}
	n := copy(object, object[1:len(object)-1])
	buf.Truncate(start + n)
	if n > 0 {
		buf.WriteByte(',')
	}
	return nil
}

// send writes a body that is complete.
func (q *request) send(status int, body []byte) {
	q.sent, q.status = true, status
	dress(q.out.Header(), q.front, status)
	if status == http.StatusNoContent || status == http.StatusNotModified {
		q.out.WriteHeader(status)
		return
	}
	body = q.compressed(body)
	q.out.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	q.out.WriteHeader(status)
	_, _ = q.out.Write(body) // a client that has gone away is nobody to tell
}

// sendErrors writes the error envelope.
func (q *request) sendErrors(status int, texts ...string) {
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

// inSeconds renders a duration as answers have it.
func inSeconds(d time.Duration) int64 { return int64(d / time.Second) }
