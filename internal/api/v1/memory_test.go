package v1

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
)

// TestRequestsBeyondTheMemoryAreRefused: while bodies fill the memory for requests, others are
// refused with Retry-After, except what keeps the server running; and all is given back.
func TestRequestsBeyondTheMemoryAreRefused(t *testing.T) {
	t.Parallel()
	shared := api.NewShared(nil, nil)
	shared.Memory.Limit(4 << 20)
	w := unsealed(t, func(c *api.Config) { c.Shared = shared })
	w.expect("mount", w.do("POST", "sys/mounts/kv", `{"type":"kv"}`), 204, "")
	large := fmt.Sprintf(`{"v":%q}`, strings.Repeat("x", 400<<10))
	w.expect("one", w.do("POST", "kv/a", large), 204, "")
	hold := startWrite(t, w, len(large))
	a := w.do("POST", "kv/b", large)
	if a.Code != 429 || a.Header().Get("Retry-After") != "1" || !strings.Contains(a.Body.String(), "no memory left") {
		t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
	}
	w.expect("nothing was written", w.do("GET", "kv/b", ""), 404, "")
	for range 40 {
		w.expect("a small request", w.do("POST", "kv/small", `{"v":"x"}`), 204, "")
	}
	w.expect("health", w.do("GET", "sys/health", ""), 200, "")
	w.expect("status", w.do("GET", "sys/seal-status", ""), 200, "")
	w.expect("unseal", w.do("PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, strings.Repeat("ab", 20<<10))), 200, "")
	if code := hold(large); code != 204 {
		t.Errorf("the request that held the memory: %d", code)
	}
	w.expect("afterwards", w.do("POST", "kv/b", large), 204, "")
	if used, _ := shared.Memory.Used(); used != 0 {
		t.Errorf("%d bytes are not given back", used)
	}
	// JSON that takes much more when it is decoded counts as what it takes.
	w.expect("many values", w.do("POST", "kv/c", `{"v":[`+strings.Repeat("1,", 100<<10)+`1]}`), 429,
		refusal("the server has no memory left for a request of this size while others are answered: try again, or raise "+
			"the server's memory limit"))
	if used, _ := shared.Memory.Used(); used != 0 {
		t.Errorf("%d bytes of refused requests are not given back", used)
	}
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
}

// startWrite sends all but the last byte of a body of n bytes, and returns a function that sends
// the whole body's rest and returns the status.
func startWrite(t *testing.T, w *harness, n int) func(body string) int {
	t.Helper()
	r, out := io.Pipe()
	done := make(chan int, 1)
	started := make(chan struct{})
	go func() {
		req := httptest.NewRequest(http.MethodPost, "/v1/kv/held", &notify{Reader: r, at: n / 2, reached: started})
		req.ContentLength = int64(n)
		req.Header.Set("X-Vault-Token", w.token)
		a := httptest.NewRecorder()
		w.api.ServeHTTP(a, req)
		done <- a.Code
	}()
	sent := n - 1
	body := fmt.Sprintf(`{"v":%q}`, strings.Repeat("x", 400<<10))
	go func() { _, _ = io.WriteString(out, body[:sent]) }()
	<-started
	return func(body string) int {
		_, _ = io.WriteString(out, body[sent:])
		_ = out.Close()
		return <-done
	}
}

// notify closes a channel once so much was read.
type notify struct {
	io.Reader
	at, read int
	reached  chan struct{}
}

func (n *notify) Read(b []byte) (int, error) {
	if n.read >= n.at && n.reached != nil {
		close(n.reached)
		n.reached = nil
	}
	k, err := n.Reader.Read(b)
	n.read += k
	return k, err
}
