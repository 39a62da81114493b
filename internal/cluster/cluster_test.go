package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func authority(t testing.TB, now func() time.Time) *Authority {
	t.Helper()
	a, err := NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthorityRoundTrip(t *testing.T) {
	t.Parallel()
	a := authority(t, nil)
	cert, key, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseAuthority(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, key2, err := b.Marshal()
	if err != nil || !bytes.Equal(cert, again) || !bytes.Equal(key, key2) {
		t.Error("an authority is another one after it was stored")
	}
	other, otherKey, err := authority(t, nil).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2][]byte{
		"another's key": {cert, otherKey}, "another's certificate": {other, key}, "no key": {cert, nil},
		"no certificate": {nil, key},
		"a long key":     {cert, make([]byte, maxDER+1)}, "garbage": {[]byte("x"), []byte("y")},
	} {
		if _, err := ParseAuthority(pair[0], pair[1], nil); !errors.Is(err, ErrAuthority) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// serve starts the server of a node and counts its requests.
func serve(t *testing.T, identity func() *Identity, h http.HandlerFunc) (address string, seen *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen = &atomic.Int64{}
	s := NewServer(l, identity, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		h(w, r)
	}), nil)
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-done); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String(), seen
}

func ask(t *testing.T, c *Client, body string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "/v1/x?y=z", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(r)
}

func TestOnlyNodesOfOneTermTalk(t *testing.T) {
	t.Parallel()
	a, previous := authority(t, nil), authority(t, nil)
	leading := a.Identity("leader")
	address, seen := serve(t, func() *Identity { return leading }, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.TLS.PeerCertificates[0].Subject.CommonName != "standby" ||
			r.URL.RequestURI() != "/v1/x?y=z" {
			t.Errorf("%s from %v at %s", r.Proto, r.TLS.PeerCertificates[0].Subject, r.URL.RequestURI())
		}
		_, _ = io.Copy(w, r.Body)
	})
	c := NewClient(a.Identity("standby"), "leader", address)
	defer c.Close()
	resp, err := ask(t, c, "hello")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = resp.Body.Close()
	before := seen.Load()
	for what, wrong := range map[string]*Client{
		"a node of an earlier leadership": NewClient(previous.Identity("standby"), "leader", address),
		"one that means another node":     NewClient(a.Identity("standby"), "other", address),
		"an address without a listener":   NewClient(a.Identity("standby"), "leader", "127.0.0.1:1"),
	} {
		if _, err := ask(t, wrong, "x"); !Unsent(err) {
			t.Errorf("%s: %v", what, err)
		}
		wrong.Close()
	}
	plain := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		ForceAttemptHTTP2: true}
	defer plain.CloseIdleConnections()
	if _, err := (&http.Client{Transport: plain}).Get("https://" + address); err == nil {
		t.Error("a client without a certificate is answered")
	}
	if seen.Load() != before {
		t.Error("a request came through that should not")
	}
}

func TestAStandbyRefusesTheHandshake(t *testing.T) {
	t.Parallel()
	a := authority(t, nil)
	address, seen := serve(t, func() *Identity { return nil }, func(http.ResponseWriter, *http.Request) {})
	c := NewClient(a.Identity("standby"), "leader", address)
	defer c.Close()
	if _, err := ask(t, c, "x"); !Unsent(err) || seen.Load() != 0 {
		t.Errorf("%v, %d requests", err, seen.Load())
	}
}

// TestSentIsNotUnsent: a request that may have arrived in part is never reported as unsent.
func TestSentIsNotUnsent(t *testing.T) {
	t.Parallel()
	a := authority(t, nil)
	id := a.Identity("leader")
	address, _ := serve(t, func() *Identity { return id },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	c := NewClient(a.Identity("standby"), "leader", address)
	defer c.Close()
	if _, err := ask(t, c, "x"); err == nil || Unsent(err) {
		t.Errorf("%v", err)
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := authority(t, func() time.Time { return now })
	i := a.Identity("n")
	first, err := i.certificate()
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(leafLife - leafRenew - time.Minute)
	if same, err := i.certificate(); err != nil || same != first {
		t.Errorf("made anew too soon: %v", err)
	}
	now = now.Add(2 * time.Minute)
	second, err := i.certificate()
	if err != nil || second == first {
		t.Fatalf("not made anew: %v", err)
	}
	if _, err := second.Leaf.Verify(x509.VerifyOptions{Roots: a.pool, CurrentTime: now,
		DNSName: "n" + domain}); err != nil {
		t.Error(err)
	}
}

func TestOriginRoundTrip(t *testing.T) {
	t.Parallel()
	leaf, err := authority(t, nil).issue("client")
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf.Leaf, authority(t, nil).cert}
	for _, o := range []Origin{
		{Remote: "192.0.2.1:1234"},
		{Remote: "@", Left: 1500 * time.Millisecond},
		{Remote: "[::1]:1", TLS: &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: chain}},
		{Remote: "[::1]:1", TLS: &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: chain,
			VerifiedChains: [][]*x509.Certificate{chain}}},
	} {
		h := http.Header{"X-Sealgate-Cluster-Chain": {"a lie"}, "X-Sealgate-Cluster-New": {"a lie"}, "X-Other": {"stays"}}
		o.Mark(h)
		got, err := ReadOrigin(h)
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%+v became %+v, %v", o, got, err)
		}
		if len(h) != 1 || h.Get("X-Other") != "stays" {
			t.Errorf("left over: %v", h)
		}
	}
}

func FuzzReadOrigin(f *testing.F) {
	f.Add("192.0.2.1:1", "AAAA,BBBB", "1", "100")
	f.Add("", "", "", "")
	f.Add("@", ",", "-1", "99999999999999")
	f.Fuzz(func(t *testing.T, remote, chain, verified, left string) {
		h := http.Header{headerRemote: {remote}, headerChain: {chain}, headerVerified: {verified}, headerLeft: {left}}
		o, err := ReadOrigin(h)
		if len(h) != 0 {
			t.Errorf("left over: %v", h)
		}
		if err != nil {
			return
		}
		again := http.Header{}
		o.Mark(again)
		if p, err := ReadOrigin(again); err != nil || p.Remote != o.Remote || p.Left != o.Left {
			t.Errorf("%+v became %+v, %v", o, p, err)
		}
	})
}
