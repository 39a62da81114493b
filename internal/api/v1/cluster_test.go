package v1

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/testkit"
)

func TestStandbyAnswersReadsAndForwardsTheRest(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	leader, standbys := f.settled()
	for i, s := range standbys {
		path := fmt.Sprintf("secret/data/a%d", i)
		s.answer("POST", path, `{"data":{"k":"v"}}`) // written through one standby
		if !leader.audited(path) || s.audited(path) {
			t.Error("a forwarded write is audited where it is answered, and only there")
		}
		for _, other := range standbys {
			got := other.answer("GET", path, "")["data"].(map[string]any)["data"].(map[string]any)["k"]
			if got != "v" {
				t.Errorf("%s reads %v", other.name, got)
			}
			if !other.audited(path) {
				t.Errorf("%s did not answer a read itself", other.name)
			}
		}
		s.answer("LIST", "secret/metadata/", "")
		s.answer("GET", "auth/token/lookup-self", "")
		s.answer("POST", "sys/capabilities-self", `{"path":"secret/data/a"}`)
		s.answer("GET", "sys/mounts", "")
	}
	for _, path := range []string{"auth/token/lookup-self", "sys/capabilities-self", "sys/mounts"} {
		if leader.audited(path) {
			t.Errorf("%s was forwarded", path)
		}
	}
	if code, text := standbys[0].do("GET", "secret/data/none", ""); code != http.StatusNotFound {
		t.Errorf("%d %s", code, text)
	}
	if code, text := standbys[0].do("GET", "secret/data/a0", "", "X-Vault-Token",
		"s.unknown"); code != http.StatusForbidden {
		t.Errorf("%d %s", code, text)
	}
}

// TestRevokedIsRefusedAtOnce: what the leader has acknowledged counts on every standby.
func TestRevokedIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	_, standbys := f.settled()
	f.nodes[0].answer("POST", "sys/policies/acl/p", `{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}`)
	f.nodes[0].answer("POST", "secret/data/x", `{"data":{"k":"v"}}`)
	for i := range 30 {
		at := f.nodes[i%3]
		token := at.answer("POST", "auth/token/create",
			`{"policies":["p"]}`)["auth"].(map[string]any)["client_token"].(string)
		for _, s := range standbys {
			if code, text := s.do("GET", "secret/data/x", "", "X-Vault-Token", token); code != http.StatusOK {
				t.Fatalf("a token that was just made: %d %s", code, text)
			}
		}
		f.nodes[(i+1)%3].answer("POST", "auth/token/revoke", fmt.Sprintf(`{"token":%q}`, token))
		for _, s := range standbys {
			if code, _ := s.do("GET", "secret/data/x", "", "X-Vault-Token", token); code != http.StatusForbidden {
				t.Fatalf("a token that was revoked counts on %s: %d", s.name, code)
			}
		}
	}
}

// TestLimitedUseThroughStandbys: each use counts once, wherever it is made.
func TestLimitedUseThroughStandbys(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	f.nodes[0].answer("POST", "sys/policies/acl/p", `{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}`)
	f.nodes[0].answer("POST", "secret/data/x", `{"data":{"k":"v"}}`)
	token := f.nodes[0].answer("POST", "auth/token/create",
		`{"policies":["p"],"num_uses":7}`)["auth"].(map[string]any)["client_token"].(string)
	var ok atomic.Int64
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if code, _ := f.nodes[i%3].do("GET", "secret/data/x", "", "X-Vault-Token", token); code == http.StatusOK {
				ok.Add(1)
			}
		})
	}
	wg.Wait()
	if ok.Load() != 7 {
		t.Errorf("a token of 7 uses was used %d times", ok.Load())
	}
	wrapped := f.nodes[1].answer("GET", "secret/data/x", "", "X-Vault-Wrap-TTL",
		"60")["wrap_info"].(map[string]any)["token"].(string)
	f.nodes[2].answer("POST", "sys/wrapping/unwrap", fmt.Sprintf(`{"token":%q}`, wrapped))
	if code, _ := f.nodes[0].do("POST", "sys/wrapping/unwrap",
		fmt.Sprintf(`{"token":%q}`, wrapped)); code == http.StatusOK {
		t.Error("unwrapped twice")
	}
}

// TestStepDownUnderLoad: no request through the standbys, or through the node that steps down,
// fails.
func TestStepDownUnderLoad(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done, failed atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := f.nodes[(w+i)%3]
				method, body := "GET", ""
				if i%2 == 0 {
					method, body = "POST", fmt.Sprintf(`{"data":{"k":"%d"}}`, i)
				}
				a, err := n.send(method, fmt.Sprintf("secret/data/w%d", w), body)
				if err != nil {
					failed.Add(1)
					t.Error(err)
					continue
				}
				if _ = a.Body.Close(); a.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Errorf("%s at %s: %d", method, n.name, a.StatusCode)
				}
				done.Add(1)
			}
		})
	}
	var longest time.Duration
	for range 10 {
		for target := done.Load() + 60; done.Load() < target; {
			time.Sleep(time.Millisecond)
		}
		leader, standbys := f.settled()
		begun := time.Now()
		standbys[0].answer("PUT", "sys/step-down", "") // forwarded
		var next *testNode
		for next = f.leader(); next == leader; next = f.leader() {
			time.Sleep(time.Millisecond)
		}
		longest = max(longest, time.Since(begun))
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests, %d failed; the longest change took %v", done.Load(), failed.Load(), longest)
	if failed.Load() > 0 || done.Load() < 600 {
		t.Errorf("%d of %d requests failed", failed.Load(), done.Load())
	}
}

// TestSpoof: a client cannot make a node believe what only nodes may say, on any listener.
func TestSpoof(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	leader, standbys := f.settled()
	lies := []string{
		"X-Sealgate-Cluster-Remote", "203.0.113.9:1", "X-Sealgate-Cluster-Chain", "AAAA", "X-Sealgate-Cluster-Verified", "1",
		"X-Sealgate-Cluster-Left", "1", "X-Sealgate-Cluster-Undone", "1", "X-Forwarded-For", "203.0.113.9",
	}
	for _, n := range []*testNode{leader, standbys[0]} {
		n.answer("POST", "secret/data/spoof", `{"data":{"k":"v"}}`, lies...)
		n.answer("GET", "secret/data/spoof", "", lies...)
	}
	for _, n := range f.nodes {
		if strings.Contains(n.trail.String(), "203.0.113.9") || !strings.Contains(n.trail.String(),
			`"remote_address":"127.0.0.1"`) {
			t.Errorf("the trail of %s has a client's word for its address", n.name)
		}
	}
	announced, err := f.client.Post(leader.url+ha.PathEcho, "application/json", strings.NewReader(`{"id":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _ = announced.Body.Close(); announced.StatusCode != http.StatusNotFound {
		t.Errorf("a client can announce a node: %d", announced.StatusCode)
	}
	// A client without a certificate of the cluster cannot even connect.
	tr := f.client.Transport.(*http.Transport).Clone()
	tr.TLSClientConfig = insecure()
	defer tr.CloseIdleConnections()
	_, err = (&http.Client{Transport: tr}).Get(leader.node.Cluster().Leader().ClusterAddr + "/v1/sys/health")
	if err == nil {
		t.Error("the listener for nodes answers anybody")
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	leader, standbys := f.settled()
	a, err := standbys[0].send("POST", "secret/data/x?a=b%20c", `{"data":{}}`, api.NoForwarding, "1")
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if want := leader.url + "/v1/secret/data/x?a=b%20c"; a.StatusCode != http.StatusTemporaryRedirect ||
		a.Header.Get("Location") != want {
		t.Errorf("%d %q, want %q", a.StatusCode, a.Header.Get("Location"), want)
	}
	if code, _ := leader.do("POST", "secret/data/x", `{"data":{}}`, api.NoForwarding, "1"); code != http.StatusOK {
		t.Errorf("the leader: %d", code)
	}
	g := federate(t, 2, func(c *api.Config) { c.NoForwarding = true })
	_, standbys = g.settled()
	if code, _ := standbys[0].do("POST", "secret/data/x", `{"data":{}}`); code != http.StatusTemporaryRedirect {
		t.Errorf("with clustering disabled: %d", code)
	}
}

func TestClusterStatus(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	leader, standbys := f.settled()
	s := standbys[0]
	for query, want := range map[string]int{"": 429, "?standbyok=true": 200, "?standbycode=299": 299,
		"?perfstandbyok=true": 429} {
		if code, _ := s.do("HEAD", "sys/health"+query, ""); code != want {
			t.Errorf("health%s of a standby: %d, want %d", query, code, want)
		}
	}
	if code, text := leader.do("GET", "sys/health", ""); code != 200 || !strings.Contains(text, `"standby":false`) ||
		!strings.Contains(text, `"replication_performance_mode":"primary"`) {
		t.Errorf("health of the leader: %d %s", code, text)
	}
	l := leader.answer("GET", "sys/leader", "")
	if l["is_self"] != true || l["leader_address"] != leader.url || l["active_time"] == nil || l["ha_enabled"] != true {
		t.Errorf("sys/leader of the leader: %v", l)
	}
	l = s.answer("GET", "sys/leader", "")
	if l["is_self"] != nil || l["leader_address"] != leader.url || l["active_time"] != nil ||
		l["leader_cluster_address"] == nil {
		t.Errorf("sys/leader of a standby: %v", l)
	}
	var nodes []any
	testkit.Eventually(t, "the status names three nodes", func() bool {
		nodes = s.answer("GET", "sys/ha-status", "")["data"].(map[string]any)["nodes"].([]any)
		return len(nodes) == 3
	})
	one, two := nodes[0].(map[string]any), nodes[1].(map[string]any)
	if one["active_node"] != true || one["last_echo"] != nil || two["active_node"] != false || two["last_echo"] == nil ||
		one["api_address"] != leader.url {
		t.Errorf("ha-status: %v", nodes)
	}
	if code, text := s.do("GET", "sys/seal-status", ""); code != 200 || !strings.Contains(text, `"sealed":false`) {
		t.Errorf("seal-status of a standby: %d %s", code, text)
	}
	s.answer("PUT", "sys/seal", "")
	if code, text := s.do("GET", "sys/leader", ""); code != 503 || !strings.Contains(text, "Vault is sealed") {
		t.Errorf("sys/leader of a sealed node: %d %s", code, text)
	}
	if code, _ := s.do("GET", "secret/data/x", ""); code != 503 {
		t.Errorf("a sealed standby: %d", code)
	}
	if code, _ := leader.do("POST", "secret/data/x", `{"data":{}}`); code != 200 {
		t.Errorf("the leader, after a standby was sealed: %d", code)
	}
}

// TestNoLeader: a request waits for a leader, and no longer than it should.
func TestNoLeader(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	leader, standbys := f.settled()
	leader.answer("PUT", "sys/seal", "")
	standbys[0].answer("POST", "secret/data/x", `{"data":{"k":"v"}}`) // it waits until this node leads
	if got := f.leader(); got != standbys[0] {
		t.Errorf("%s leads", got.name)
	}
}

// TestClientCertificateIsForwarded: the leader sees the certificate that the client has shown to a
// standby, and audits it.
func TestClientCertificateIsForwarded(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	leader, standbys := f.settled()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(987654321), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/secret/data/tls", strings.NewReader(`{"data":{"k":"v"}}`))
	r.Header.Set("X-Vault-Token", f.root)
	r.RemoteAddr = "192.0.2.7:4711"
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert},
		VerifiedChains: [][]*x509.Certificate{{cert}}}
	w := httptest.NewRecorder()
	standbys[0].api.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	trail := leader.trail.String()
	if !strings.Contains(trail, "987654321") || !strings.Contains(trail, `"remote_address":"192.0.2.7"`) ||
		!strings.Contains(trail, `"remote_port":4711`) {
		t.Errorf("the trail of the leader does not know the client:\n%s", trail)
	}
}

// TestForwardedBodies: of every size, with and without a length, they arrive as they are; what is
// too large is refused as on the leader.
func TestForwardedBodies(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	_, standbys := f.settled()
	for _, size := range []int{0, 1, 1 << 10, 100 << 10, 700 << 10} {
		for _, length := range []bool{true, false} {
			value := strings.Repeat("x", size)
			body := io.Reader(strings.NewReader(fmt.Sprintf(`{"data":{"k":%q}}`, value)))
			if !length {
				body = struct{ io.Reader }{body}
			}
			r, err := http.NewRequest("POST", standbys[0].url+"/v1/secret/data/big", body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Vault-Token", f.root)
			a, err := f.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			got := standbys[0].answer("GET", "secret/data/big", "")["data"].(map[string]any)["data"].(map[string]any)["k"]
			if a.StatusCode != http.StatusOK || got != value {
				t.Errorf("%d bytes, length declared %v: %d, and %d bytes came back", size, length, a.StatusCode, len(got.(string)))
			}
		}
	}
	huge := `{"data":{"k":"` + strings.Repeat("x", 3<<20) + `"}}`
	if code, _ := standbys[0].do("POST", "secret/data/big", huge); code != http.StatusRequestEntityTooLarge {
		t.Errorf("3 MiB: %d", code)
	}
	if code, _ := standbys[0].do("POST", "secret/data/big", huge, "X-Vault-Token",
		"s.unknown"); code != http.StatusForbidden {
		t.Errorf("3 MiB of somebody unknown: %d", code)
	}
	if code, _ := standbys[0].do("POST", "secret/data/big", `{"data":{}}`, "X-Vault-Token",
		"s.unknown"); code != http.StatusForbidden {
		t.Errorf("somebody unknown: %d", code)
	}
}
