package api

import (
	"bytes"
	"compress/gzip"
	"strconv"
	"strings"
	"sync"
)

// compressFrom is the size from which an answer is compressed for clients that accept gzip: lists
// of thousands of names, and the OpenAPI document. Secrets of usual sizes are sent as they are,
// because their compressed length would depend on their content.
const compressFrom = 32 << 10

var packers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil { // the level is valid
		panic(err)
	}
	return w
}}

// compressed compresses a large body if the client accepts that.
func (q *Request) compressed(body []byte) []byte {
	if len(body) < compressFrom {
		return body
	}
	header := q.Out.Header()
	header.Add("Vary", "Accept-Encoding")
	if !acceptsGzip(q.HTTP.Header["Accept-Encoding"]) {
		return body
	}
	var out bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	if _, err := w.Write(body); err != nil {
		return body
	}
	if err := w.Close(); err != nil {
		return body
	}
	header["Content-Encoding"] = []string{"gzip"}
	return out.Bytes()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3).
func acceptsGzip(values []string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !ok || err == nil && weight > 0
		}
	}
	return false
}
