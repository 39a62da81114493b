package audit

import (
	"fmt"
	"time"
)

// Bounds of what is kept in memory while the node is sealed and no device is known: who unseals, and who tries to.
const (
	maxRecords  = 256
	maxKeptData = 4 << 10
)

// kept is a request of that time, without any text that would have to be hashed.
type kept struct {
	request         Request
	failure         string
	at              time.Time
	response        *Response // nil: not answered
	responseFailure string
	answeredAt      time.Time
}

// keep remembers a request. What there is no room for is counted, and told when the node is active.
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

// complete adds how a request ended that is kept.
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

// blanked is data without its strings; nil where it is too large to be kept.
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

// flush writes what is kept to the devices that are about to be used. The caller holds mu.
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
			return fmt.Errorf("what happened while sealed: %w", err)
		}
		if k.response == nil {
			continue
		}
		if err := r.offer(blank, "response", k.response, k.responseFailure, k.answeredAt); err != nil {
			return fmt.Errorf("what happened while sealed: %w", err)
		}
	}
	if t.lost > 0 {
		t.o.Log.Warn("requests while sealed were too many to be kept for the audit trail", "missing", t.lost)
	}
	t.kept, t.lost = nil, 0
	return nil
}
