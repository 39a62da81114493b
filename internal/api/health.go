package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/node"
)

// health is asked every second by every load balancer: it touches memory alone, and its body is put together by hand.
func (h *handler) health(_ context.Context, q *request) (*answer, error) {
	s := h.Node.Health()
	code, err := q.healthCode(s)
	if err != nil {
		return nil, err
	}
	return &answer{status: code, data: json.RawMessage(h.healthBody(s))}, nil
}

// healthCode is the status of the answer: that of the state, or what the query wants for it. Sealed and uninitialised count before standby.
func (q *request) healthCode(s node.Health) (int, error) {
	active, err1 := q.code("activecode", http.StatusOK)
	standby, err2 := q.code("standbycode", http.StatusTooManyRequests)
	sealed, err3 := q.code("sealedcode", http.StatusServiceUnavailable)
	uninit, err4 := q.code("uninitcode", http.StatusNotImplemented)
	standbyOK, err5 := q.flag("standbyok")
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return 0, err
		}
	}
	switch {
	case !s.Initialized:
		return uninit, nil
	case s.Sealed:
		return sealed, nil
	case s.Standby && !standbyOK:
		return standby, nil
	}
	return active, nil
}

// code reads a status from the query. What is not a final status of HTTP is refused: it could not be sent.
func (q *request) code(name string, fallback int) (int, error) {
	if q.query == nil || !q.query.Has(name) {
		return fallback, nil
	}
	n, err := strconv.Atoi(q.query.Get(name))
	if err != nil || n < 200 || n > 599 {
		return 0, errBadParam
	}
	return n, nil
}

// healthBody has every member that clients decode without asking whether it is there.
func (h *handler) healthBody(s node.Health) []byte {
	performance, dr := "disabled", "disabled"
	if s.Sealed {
		performance, dr = "unknown", "unknown"
	} else if s.Clustered {
		performance = "primary"
	}
	b := make([]byte, 0, 512)
	b = strconv.AppendBool(append(b, `{"initialized":`...), s.Initialized)
	b = strconv.AppendBool(append(b, `,"sealed":`...), s.Sealed)
	b = strconv.AppendBool(append(b, `,"standby":`...), s.Standby || s.Sealed)
	b = append(b, `,"performance_standby":false,"replication_performance_mode":"`...)
	b = append(append(b, performance...), `","replication_dr_mode":"`...)
	b = append(append(b, dr...), `","server_time_utc":`...)
	b = strconv.AppendInt(b, h.Now().Unix(), 10)
	b = appendString(append(b, `,"version":`...), h.Version)
	if !s.Sealed { // ours: a sealed node has said all there is to say
		b = strconv.AppendBool(append(b, `,"seal_would_unseal":`...), s.WouldUnseal)
	}
	if !s.KeyDeletion.IsZero() { // ours: an alarm, with the date
		b = appendString(append(b, `,"seal_key_deletion":`...), s.KeyDeletion.UTC().Format(time.RFC3339))
	}
	if s.ClusterName != "" {
		b = appendString(append(b, `,"cluster_name":`...), s.ClusterName)
	}
	if s.ClusterID != "" {
		b = appendString(append(b, `,"cluster_id":`...), s.ClusterID)
	}
	return append(b, '}')
}

// appendString appends a JSON string; those of letters, digits and the like need no encoder.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil { // strings always encode
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
