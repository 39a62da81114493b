package audit

import (
	"fmt"
	"time"
)

// Bounds of the requests kept in memory while the node is sealed and no device is known: unsealing,
// and attempts at it.
const (
	maxRecords  = 256
	maxKeptData = 4 << 10
)

// kept is such a request, without the texts that would have to be hashed.
type kept struct {
	request         Request
	failure         string
	at              time.Time
	response        *Response // nil: no response
	responseFailure string
	answeredAt      time.Time
}

// keep stores a request. If there is no room it counts the request, and flush reports the count.
func (t *Trail) keep(r *Record, failure string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= maxRecords {
		t.lost++
		return
	}
	k := &kept{request: *r.request, failure: failure, at: t.o.Now()}
	k.request.Data, k.request.Headers = blanked(k.request.Data), nil
	if k.request.Token != "" {
		k.request.Token = withheld
	}
	r.kept = k
	t.kept = append(t.kept, k)
}

// complete adds the response of a kept request.
func (t *Trail) complete(k *kept, a *Response, failure string) {
	if k == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	only := &Response{}
	if a != nil {
		only.Share, only.Data = a.Share, blanked(a.Data)
	}
	k.response, k.responseFailure, k.answeredAt = only, failure, t.o.Now()
}

// blanked returns data without its strings; nil if it is too large to keep.
func blanked(data []byte) []byte {
	if data == nil || len(data) > maxKeptData {
		return nil
	}
	b, err := (&formatter{}).data([]byte{'{'}, "d", data, nil, true, false)
	if err != nil {
		return nil
	}
	return b[len(`{"d":`):]
}

// flush writes the kept requests to the devices that are about to be used. The caller holds mu.
func (t *Trail) flush(s *set) error {
	if len(s.devices) == 0 {
		t.kept, t.lost = nil, 0
		return nil
	}
	blank := &set{active: true}
	for _, a := range s.devices {
		blank.devices = append(blank.devices, &attached{a.Config, &formatter{settings: a.settings}, a.device, a.took})
	}
	for _, k := range t.kept {
		r := &Record{trail: t, request: &k.request, set: blank}
		if err := r.offer(blank, "request", nil, k.failure, k.at); err != nil {
			return fmt.Errorf("writing the requests received while sealed: %w", err)
		}
		if k.response == nil {
			continue
		}
		if err := r.offer(blank, "response", k.response, k.responseFailure, k.answeredAt); err != nil {
			return fmt.Errorf("what happened while sealed: %w", err)
		}
	}
	if t.lost > 0 {
		t.o.Log.Warn("the audit trail misses requests received while sealed: there were too many to keep in memory",
			"missing", t.lost)
	}
	t.kept, t.lost = nil, 0
	return nil
}
