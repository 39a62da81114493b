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
func startBare(b *testing.B, s *Server, token, path string) *party {
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
	return &party{addr: a.Addr, pid: cmd.Process.Pid, code: given.StatusCode, request: same(getRequest(path, token))}
}

// BenchmarkBare compares what load balancers and readers get with a bare handler of net/http, in a
// process of its own, that writes the same bytes: by turns, on 16 kept connections.
func BenchmarkBare(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	kinds := []struct {
		path, token string
		want        float64
		ours, bare  *party
	}{
		{path: "sys/seal-status", want: 0.9}, {path: "sys/health", want: 0.9},
		{path: "kv/one", token: token, want: 0.85},
	}
	for i := range kinds {
		k := &kinds[i]
		k.bare = startBare(b, s, k.token, k.path)
		k.ours = &party{addr: s.Addr, pid: s.Pid(), code: 200, request: k.bare.request}
	}
	for b.Loop() {
		for range 4 { // short turns: other load of the machine meets all
			for _, k := range kinds {
				k.ours.turn(b, window/6)
				k.bare.turn(b, window/6)
			}
		}
	}
	for _, k := range kinds {
		testkit.AtLeast(b, k.path+" / bare net/http handler with the same bytes",
			compare(b, k.path+"/bare", k.ours, k.bare), k.want)
	}
}
