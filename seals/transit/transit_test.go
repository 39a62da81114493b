//go:build unix

package transit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

// front is a TLS proxy between a seal and the real server, with faults on demand.
type front struct {
	*httptest.Server
	ca    string // file with its authority
	calls atomic.Int64

	mu           sync.Mutex
	unresponsive chan struct{} // not nil: requests wait until it is closed
	away         bool
	garble       bool
	stripped     string // field of requests that is dropped, as a server does that does not know it
}

func newFront(t testing.TB, backend string) *front {
	t.Helper()
	target, err := url.Parse("http://" + backend)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		ModifyResponse: f.spoil,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		f.mu.Lock()
		unresponsive, away, stripped := f.unresponsive, f.away, f.stripped
		f.mu.Unlock()
		if unresponsive != nil {
			select {
			case <-unresponsive:
			case <-r.Context().Done():
			}
		}
		if away {
			panic(http.ErrAbortHandler)
		}
		if stripped != "" && r.Body != nil {
			strip(r, stripped)
		}
		proxy.ServeHTTP(w, r)
	}))
	f.Config.ErrorLog = discard()
	f.StartTLS()
	t.Cleanup(func() {
		f.Close()
		transport.CloseIdleConnections()
	})
	f.ca = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(f.ca, pemOf(f.Certificate()), 0o600))
	return f
}

func strip(r *http.Request, field string) {
	var body map[string]any
	if raw, err := io.ReadAll(r.Body); err == nil && json.Unmarshal(raw, &body) == nil {
		delete(body, field)
		raw, _ = json.Marshal(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	}
}

// spoil changes a character of the plaintext or ciphertext in an answer.
func (f *front) spoil(resp *http.Response) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.garble || resp.StatusCode != http.StatusOK {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	for _, before := range []string{`"plaintext":"`, `"ciphertext":"vault:v1:`} {
		if i := bytes.Index(raw, []byte(before)); i >= 0 {
			at := &raw[i+len(before)+8]
			if *at == 'A' {
				*at = 'B'
			} else {
				*at = 'A'
			}
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	return nil
}

func (f *front) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rules(mount string, read bool) string {
	text := fmt.Sprintf("path %q { capabilities = [\"create\", \"update\"] }\npath %q { capabilities = [\"update\"] "+
		"}\n", mount+"/encrypt/*", mount+"/decrypt/*")
	if read {
		text += fmt.Sprintf("path %q { capabilities = [\"read\"] }\n", mount+"/keys/*")
	}
	return text
}

// place is a separate mount on the shared server, with a token in a file.
type place struct {
	bao              *openbao.Server
	mount, tokenFile string
	token            string
}

var places atomic.Int64

func newPlace(t testing.TB, bao *openbao.Server) *place {
	t.Helper()
	p := &place{bao: bao, mount: fmt.Sprintf("team/transit%d", places.Add(1)),
		tokenFile: filepath.Join(t.TempDir(), "token")}
	bao.Mount(p.mount)
	bao.Key(p.mount, "wrap", "")
	bao.Key(p.mount, "other", "chacha20-poly1305")
	bao.Policy(p.policy(), rules(p.mount, true))
	p.newToken(t, "1h")
	return p
}

func (p *place) policy() string { return strings.ReplaceAll(p.mount, "/", "-") }

func (p *place) newToken(t testing.TB, ttl string) {
	t.Helper()
	p.token = p.bao.Token(p.policy(), ttl)
	must(t, os.WriteFile(p.tokenFile+".new", []byte(p.token+"\n"), 0o600))
	must(t, os.Rename(p.tokenFile+".new", p.tokenFile))
}

// open makes a seal; params are name-value pairs that add to or replace the default ones.
func (p *place) open(t testing.TB, f *front, key string, params ...string) *Wrapper {
	t.Helper()
	all := map[string]string{
		"address": f.URL, "tls_ca_cert": f.ca, "mount_path": p.mount + "/", "key_name": key, "token": "file://" +
			p.tokenFile,
	}
	for i := 0; i < len(params); i += 2 {
		all[params[i]] = params[i+1]
	}
	w, err := New(seals.Config{Name: "peer", Type: "transit", Params: all})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*Wrapper).Close()) })
	return w.(*Wrapper)
}

func TestConforms(t *testing.T) {
	bao := openbao.Start(t)
	sealtest.Run(t, sealtest.Harness{
		Without: map[string]string{
			"Schedule":   "transit destroys a key at once, or not at all",
			"Unschedule": "transit destroys a key at once, or not at all",
		},
		New: func(t *testing.T) *sealtest.Fixture { return fixture(t, bao) },
	})
}

func fixture(t *testing.T, bao *openbao.Server) *sealtest.Fixture {
	p, f := newPlace(t, bao), newFront(t, bao.Addr)
	during := func(on, off func()) func() func() {
		return func() func() {
			f.set(on)
			return func() { f.set(off) }
		}
	}
	return &sealtest.Fixture{
		Wrapper: p.open(t, f, "wrap"),
		Other:   p.open(t, f, "other"),
		Again:   func() wrapping.Wrapper { return p.open(t, f, "wrap") },
		Unresponsive: during(func() { f.unresponsive = make(chan struct{}) },
			func() { close(f.unresponsive); f.unresponsive = nil }),
		Away:    during(func() { f.away = true }, func() { f.away = false }),
		Garble:  during(func() { f.garble = true }, func() { f.garble = false }),
		Disable: func() { bao.Must("DELETE", p.mount+"/keys/wrap/soft-delete", nil) },
		Enable:  func() { bao.Must("POST", p.mount+"/keys/wrap/soft-delete-restore", nil) },
		Destroy: func() { bao.Delete(p.mount, "wrap") },
		Rotate:  func() { bao.Rotate(p.mount, "wrap") },
		Deny: func() func() {
			bao.Policy(p.policy(), `path "nothing" { capabilities = ["read"] }`)
			return func() { bao.Policy(p.policy(), rules(p.mount, true)) }
		},
		Expire: func() { bao.Revoke(p.token) },
		Renew:  func() { p.newToken(t, "1h") },
		Throttle: func() func() {
			quota := "sys/quotas/rate-limit/" + p.policy()
			bao.Must("POST", quota, map[string]any{"path": p.mount + "/", "rate": 1, "interval": "1h"})
			bao.Must("PUT", p.mount+"/encrypt/other", map[string]string{"plaintext": "YQ=="}) // what the quota allows
			return func() { bao.Must("DELETE", quota, nil) }
		},
		Calls: func() int { return int(f.calls.Load()) },
	}
}
