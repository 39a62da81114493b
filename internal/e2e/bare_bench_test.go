package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
)

// bareEnv names, for a process of this test binary, the answer that its bare handler gives, and the
// address at which it gives it.
const bareEnv = "SEALGATE_E2E_BARE"

// bareAnswer is what a bare handler writes.
type bareAnswer struct {
	Addr   string
	Header http.Header
	Body   []byte
}

// serveBare is a net/http server that writes the same bytes to every request.
func serveBare(text string) int {
	var a bareAnswer
	err := json.Unmarshal([]byte(text), &a)
	if err == nil {
		err = http.ListenAndServe(a.Addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			for name, values := range a.Header {
				header[name] = values
			}
			_, _ = w.Write(a.Body) // the client may have closed the connection
		}))
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// startBare starts a process with a bare handler that answers as the server does.
func startBare(b *testing.B, s *Server, token, path string) (addr string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+s.Addr+"/v1/"+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", token)
	given, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer given.Body.Close()
	a := bareAnswer{Header: given.Header}
	if a.Body, err = io.ReadAll(given.Body); err != nil {
		b.Fatal(err)
	}
	a.Header.Del("Date") // net/http sets its own
	if a.Addr, err = FreeAddr(); err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), bareEnv+"="+string(text))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(); _ = cmd.Wait() })
	testkit.Eventually(b, "the bare handler listens", func() bool {
		c, err := net.DialTimeout("tcp", a.Addr, time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return a.Addr
}

// BenchmarkBare compares what load balancers and readers get with a bare handler of net/http, in a
// process of its own, that writes the same bytes: by turns, on 16 kept connections.
func BenchmarkBare(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	kinds := []struct {
		path, token, bare string
		want              float64
		ours, theirs      float64
	}{
		{path: "sys/seal-status", want: 0.9}, {path: "sys/health", want: 0.9},
		{path: "kv/one", token: token, want: 0.85},
	}
	for i := range kinds {
		kinds[i].bare = startBare(b, s, kinds[i].token, kinds[i].path)
	}
	for b.Loop() {
		for range 4 { // short turns: other load of the machine meets all
			for i := range kinds {
				k := &kinds[i]
				request := getRequest(k.path, k.token)
				same := func(int, int) string { return request }
				ours, _ := load(b, s.Addr, 16, window/6, 200, same)
				theirs, _ := load(b, k.bare, 16, window/6, 200, same)
				k.ours, k.theirs = k.ours+ours, k.theirs+theirs
			}
		}
	}
	for _, k := range kinds {
		b.ReportMetric(k.ours/k.theirs, k.path+"/bare")
		testkit.AtLeast(b, k.path+" / bare net/http handler with the same bytes", k.ours/k.theirs, k.want)
	}
}
