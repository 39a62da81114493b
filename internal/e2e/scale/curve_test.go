//go:build scale

package scale

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// curve is a kind of object that a server has many of, and a request that must not become slower
// with them.
type curve struct {
	what    string
	most    int // at SCALE=1000000
	begin   func(s *subject)
	add     func(s *subject, i int) (code int, method, path string, body any)
	request func(s *subject) (code int, method, path string, body any)
}

var curves = []curve{
	{what: "policies", most: 10_000, begin: func(*subject) {},
		add: func(_ *subject, i int) (int, string, string, any) {
			text := fmt.Sprintf("path \"kv/app-%d/*\" {\n  capabilities = [\"read\"]\n}\n", i)
			return 204, "PUT", fmt.Sprintf("sys/policies/acl/policy-%d", i), map[string]string{"policy": text}
		},
		request: func(*subject) (int, string, string, any) { return 200, "GET", "kv/one", nil }},
	{what: "mounts", most: 5_000, begin: func(*subject) {},
		add: func(_ *subject, i int) (int, string, string, any) {
			return 204, "POST", fmt.Sprintf("sys/mounts/team-%d", i), map[string]string{"type": "kv"}
		},
		request: func(*subject) (int, string, string, any) { return 200, "GET", "kv/one", nil }},
	{what: "AppRole roles", most: 100_000,
		begin: func(s *subject) {
			s.must(204, "POST", "sys/auth/approle", map[string]string{"type": "approle"}, nil)
		},
		add: func(_ *subject, i int) (int, string, string, any) {
			return 204, "POST", fmt.Sprintf("auth/approle/role/role-%d", i),
				map[string]any{"role_id": fmt.Sprintf("id-%d", i), "bind_secret_id": false, "token_bound_cidrs": "127.0.0.0/8",
					"secret_id_bound_cidrs": "127.0.0.0/8"}
		},
		request: func(*subject) (int, string, string, any) {
			return 200, "POST", "auth/approle/login", map[string]string{"role_id": "id-7"}
		}},
	{what: "transit keys", most: 1_000,
		begin: func(s *subject) {
			s.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"}, nil)
		},
		add: func(_ *subject, i int) (int, string, string, any) {
			return 200, "POST", fmt.Sprintf("transit/keys/key-%d", i), map[string]string{}
		},
		request: func(*subject) (int, string, string, any) {
			return 200, "POST", "transit/encrypt/key-7", map[string]string{"plaintext": "YQ=="}
		}},
}

// TestCurves adds objects in steps of ten times as many. A request may take 1.3 times as long after
// a step: two runs of the same differ by nearly as much.
func TestCurves(t *testing.T) {
	n := wanted(t, "bbolt")
	for _, c := range curves {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			s := newSubject(t, "bbolt")
			c.begin(s)
			most := max(100, int(float64(c.most)*min(1, float64(n)/1e6)))
			added, last := 0, time.Duration(0)
			for _, step := range []int{most / 100, most / 10, most} {
				step = max(step, 10)
				begun := time.Now()
				s.many(added, step, c.add)
				each := time.Since(begun) / time.Duration(max(1, step-added))
				added = step
				took := s.typical(c.request)
				name := fmt.Sprintf("bbolt, %d %s", step, c.what)
				code, method, path, _ := c.request(s)
				report.note(name, fmt.Sprintf("%s %s (%d)", method, path, code), "%s", millis(took))
				report.note(name, "adding one of them, 16 at a time", "%s", millis(each))
				if last > 0 {
					report.atMost(name, "to a tenth of them", float64(took)/float64(last), 1.3)
				}
				last = took
			}
			s.stop()
			report.time(fmt.Sprintf("bbolt, %d %s", most, c.what), "start to active", s.starts(), 100*time.Millisecond)
		})
	}
}

// many sends the requests from..to from 16 clients.
func (s *subject) many(from, to int, request func(s *subject, i int) (int, string, string, any)) {
	s.t.Helper()
	next := atomic.Int64{}
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				code, method, path, body := request(s, i)
				r, err := s.Do(s.t.Context(), method, path, s.root, body)
				if err != nil || r.Code != code && r.Code != http.StatusOK {
					s.t.Errorf("%s %s: %d %.200s, %v", method, path, r.Code, r.Body, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// typical returns the median time of a request.
func (s *subject) typical(request func(s *subject) (int, string, string, any)) time.Duration {
	s.t.Helper()
	var all []time.Duration
	for range 500 {
		code, method, path, body := request(s)
		all = append(all, s.took(code, method, path, body))
	}
	return median(all)
}
