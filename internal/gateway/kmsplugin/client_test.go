package kmsplugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
)

// cluster is a server of transit that a test can break. It does not encrypt: a ciphertext is the
// plaintext and its additional data.
type cluster struct {
	*httptest.Server
	mu     sync.Mutex
	token  string // that is accepted
	logins int
	calls  int
	status int // of every answer; 0: as it should be
	soft   bool
	body   map[string]any // of the last call
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{token: "t1"}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.status == http.StatusTemporaryRedirect {
		http.Redirect(w, r, "https://attacker.example.com/", c.status)
		return
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
		fmt.Fprint(w, `{"errors":["a text of the server, with s3cret"]}`)
		return
	}
	c.body = nil
	_ = json.NewDecoder(r.Body).Decode(&c.body)
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	switch {
	case path == "sys/seal-status":
		fmt.Fprint(w, `{"sealed":false,"cluster_id":"the-cluster"}`)
		return
	case path == "auth/approle/login":
		c.logins++
		fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":60,"renewable":true}}`, c.token)
		return
	case r.Header.Get("X-Vault-Token") != c.token:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"errors":["permission denied"]}`)
		return
	}
	switch path {
	case "auth/token/lookup-self":
		fmt.Fprint(w, `{"data":{"ttl":60}}`)
	case "transit/keys/k":
		fmt.Fprintf(w, `{"data":{"latest_version":2,"supports_encryption":true,"derived":false,"soft_deleted":%t,`+
			`"keys":{"1":1700000000,"2":1700000001}}}`, c.soft)
	case "transit/encrypt/k":
		raw, _ := json.Marshal([]any{c.body["plaintext"], c.body["associated_data"]})
		fmt.Fprintf(w, `{"data":{"ciphertext":"vault:v%v:%s"}}`, c.body["key_version"],
			base64.StdEncoding.EncodeToString(raw))
	case "transit/decrypt/k":
		_, blob, _ := kmsv2.SplitCiphertext([]byte(c.body["ciphertext"].(string)))
		var parts [2]any
		_ = json.Unmarshal(blob, &parts)
		if parts[1] != c.body["associated_data"] {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":["cipher: message authentication failed"]}`)
			return
		}
		fmt.Fprintf(w, `{"data":{"plaintext":%q}}`, parts[0])
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// newClient is a client of some clusters that share a CA, with AppRole.
func newClient(t *testing.T, addresses []string, ca *cluster) *Client {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})
	c := New(Options{Addresses: addresses, Key: "k", TLS: TLS{CACert: write("ca.pem", pemText)},
		Auth: Auth{Kind: "approle", Mount: "approle", RoleIDFile: write("role", []byte("r")),
			SecretFile: write("secret", []byte("s"))}})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.Run(ctx) // closes its connections
	})
	return c
}

func roundTrip(t *testing.T, c *Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a node that hangs may take half of it
	defer cancel()
	p, err := c.Newest(ctx)
	if err != nil {
		return err
	}
	text, err := c.Encrypt(ctx, kmsv2.Call{}, p, []byte("seed"), []byte("aad"))
	if err != nil {
		return err
	}
	back, err := c.Decrypt(ctx, kmsv2.Call{}, p.KeyID, text, []byte("aad"))
	if err == nil && !bytes.Equal(back, []byte("seed")) {
		t.Errorf("decrypts to %q", back)
	}
	return err
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	c := newClient(t, []string{s.URL}, s)
	if err := roundTrip(t, c); err != nil {
		t.Fatal(err)
	}
	p, err := c.Newest(t.Context())
	if want := kmsv2.KeyID("the-cluster", "transit", "k", 2, []byte("1700000001")); err != nil || p.KeyID != want ||
		p.Version != 2 {
		t.Errorf("%+v, %v; want %s", p, err, want)
	}
	text, err := c.Encrypt(t.Context(), kmsv2.Call{}, kmsv2.Pin{Version: 1, KeyID: "x"}, []byte("seed"), nil)
	if err != nil || !bytes.HasPrefix(text, []byte("vault:v1:")) {
		t.Errorf("the pinned version gives %q, %v", text, err)
	}
	s.set(func() {
		if s.body["type"] != neverAType {
			t.Error("an encryption could make a key in the place of a deleted one")
		}
	})
	if _, err := c.Decrypt(t.Context(), kmsv2.Call{}, "", text, []byte("other")); !fault.Is(err, fault.Invalid) {
		t.Errorf("another additional data: %v", err)
	}
}

// TestRefusedTokenCostsOneLogin: a token that was revoked is replaced within the call, and a token
// without the right does not cost a login for each call.
func TestRefusedTokenCostsOneLogin(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	c := newClient(t, []string{s.URL}, s)
	now := time.Now()
	c.o.Now = func() time.Time { return now }
	if err := roundTrip(t, c); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.token = "t2" })
	now = now.Add(loginPause + time.Second)
	if err := roundTrip(t, c); err != nil {
		t.Errorf("after the token was revoked: %v", err)
	}
	s.set(func() {
		if s.logins != 2 {
			t.Errorf("%d logins", s.logins)
		}
		s.token = "t3"
	})
	for range 5 {
		if err := roundTrip(t, c); !fault.Is(err, fault.Denied) {
			t.Errorf("a refused fresh token: %v", err)
		}
	}
	s.set(func() {
		if s.logins != 2 {
			t.Errorf("%d logins within %s", s.logins, loginPause)
		}
	})
}

// TestCircuitBreaker: a node that fails is left alone while another answers, and asked again later.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	bad, good := newCluster(t), newCluster(t)
	bad.set(func() { bad.status = http.StatusServiceUnavailable })
	c := newClient(t, []string{bad.URL, good.URL}, good)
	now := time.Now()
	c.o.Now = func() time.Time { return now }
	for range 5 {
		if err := roundTrip(t, c); err != nil {
			t.Fatal(err)
		}
	}
	bad.set(func() {
		if bad.calls > 3 {
			t.Errorf("the bad node was asked %d times", bad.calls)
		}
		bad.status = 0
	})
	good.set(func() { good.status = http.StatusBadGateway })
	now = now.Add(openMost)
	if err := roundTrip(t, c); err != nil {
		t.Errorf("the node that is back: %v", err)
	}
	bad.set(func() { bad.status = http.StatusInternalServerError })
	for range 3 { // all are open: they are asked all the same
		if err := roundTrip(t, c); !fault.Is(err, fault.Unavailable) {
			t.Errorf("no node answers: %v", err)
		}
	}
	good.set(func() { good.status = 0 })
	if err := roundTrip(t, c); err != nil {
		t.Errorf("all breakers were open, and one node is back: %v", err)
	}
}

// TestAnswersOfTheServer: each status has its kind, and no text of the server reaches the API
// server.
func TestAnswersOfTheServer(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	c := newClient(t, []string{s.URL}, s)
	if err := roundTrip(t, c); err != nil {
		t.Fatal(err)
	}
	for status, kind := range map[int]fault.Kind{
		400: fault.Invalid, 403: fault.Denied, 404: fault.NotFound, 429: fault.Limited, 500: fault.Unavailable,
		503: fault.Unavailable, 307: fault.Unavailable, 473: fault.Invalid,
	} {
		s.set(func() { s.status = status })
		err := roundTrip(t, c)
		if !fault.Is(err, kind) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("status %d: %v", status, err)
		}
	}
	s.set(func() { s.status, s.soft = 0, true })
	if err := roundTrip(t, c); !fault.Is(err, fault.NotFound) {
		t.Errorf("a soft-deleted key: %v", err)
	}
}

// TestFilesAreReadAgain: a CA, a token and a secret id may be replaced while the sidecar runs.
func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	c := newClient(t, []string{s.URL}, s)
	good, err := os.ReadFile(c.o.TLS.CACert)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(c.o.TLS.CACert, []byte("none"))
	if err := roundTrip(t, c); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a file without a certificate: %v", err)
	}
	write(c.o.TLS.CACert, good)
	if err := roundTrip(t, c); err != nil {
		t.Errorf("the CA is back: %v", err)
	}
	file := filepath.Join(t.TempDir(), "token")
	c.o.Auth, c.token = Auth{Kind: "token_file", TokenFile: file}, nil
	if err := roundTrip(t, c); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), file) {
		t.Errorf("no token file: %v", err)
	}
	write(file, []byte("t1\n"))
	if err := roundTrip(t, c); err != nil {
		t.Errorf("the token file is there: %v", err)
	}
	write(file, []byte("t2\n"))
	s.set(func() { s.token = "t2" })
	if err := roundTrip(t, c); err != nil {
		t.Errorf("the token file was replaced: %v", err)
	}
}

// TestHangingNodeLeavesTimeForOthers: a node that accepts and does not answer gets its part of the
// deadline alone.
func TestHangingNodeLeavesTimeForOthers(t *testing.T) {
	t.Parallel()
	good := newCluster(t)
	release := make(chan struct{})
	hang := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hang.Close)
	t.Cleanup(func() { close(release) })
	c := newClient(t, []string{hang.URL, good.URL}, good)
	if err := roundTrip(t, c); err != nil {
		t.Error(err)
	}
}
