package etcd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
)

// refused checks that Open fails in that way and says what to do.
func refused(t *testing.T, what string, o etcd.Options, kind error, remedy string) {
	t.Helper()
	s, err := etcd.Open(t.Context(), o)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), remedy) {
		t.Errorf("%s: %v\nwant %v with %q", what, err, kind, remedy)
	}
	if err != nil && o.Password != "" && strings.Contains(err.Error(), o.Password) {
		t.Errorf("%s: the password shows", what)
	}
}

func TestTLSAndUsers(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{TLS: true, Auth: true, NoSync: true})
	good := etcd.Options{
		Endpoints: server.Endpoints, CAFile: server.CAFile, CertFile: server.CertFile, KeyFile: server.KeyFile,
		Username: etcdtest.User, Password: etcdtest.UserPassword, LeaseTTL: longLease,
		RequestTimeout: patience, OutageTimeout: patience,
	}
	s := open(t, good)
	l := campaign(t, s, "a")
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Batch{Epoch: l.Epoch(), Ops: put("k", "v")}); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Key != "k" {
		t.Errorf("%+v", e)
	}
	want(t, s, "k", "v")
	if size, err := s.Size(t.Context()); err != nil || size == 0 {
		t.Errorf("Size = %d, %v", size, err)
	}

	without := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	for what, c := range map[string]struct {
		change func(*etcd.Options)
		kind   error
		remedy string
	}{
		"wrong password": {func(o *etcd.Options) { o.Password = "hunter2" }, etcd.ErrDenied, "the password is wrong"},
		"no user":        {func(o *etcd.Options) { o.Username, o.Password = "", "" }, etcd.ErrDenied, "ETCD_USERNAME"},
		"not the user's path": {func(o *etcd.Options) { o.Path = "/other/" }, etcd.ErrDenied,
			"role grant-permission ROLE readwrite --prefix=true /other/"},
		"unknown authority": {func(o *etcd.Options) { o.CAFile = "" }, storage.ErrUnavailable, "set tls_ca_file"},
		"another name": {func(o *etcd.Options) { o.ServerName = "elsewhere" }, storage.ErrUnavailable,
			"names in the certificate"},
		"no client certificate": {func(o *etcd.Options) { o.CertFile, o.KeyFile, o.RequestTimeout = "", "", busy },
			storage.ErrUnavailable, "set tls_cert_file"},
		"http to https": {func(o *etcd.Options) {
			o.Endpoints = []string{strings.Replace(server.Endpoints[0], "https", "http", 1)}
			o.CAFile, o.CertFile, o.KeyFile = "", "", ""
			o.RequestTimeout = busy // it may be a passing matter, and is waited for
		}, storage.ErrUnavailable, "it may require https"},
		"https to http": {func(o *etcd.Options) {
			o.Endpoints = []string{strings.Replace(without.Endpoints[0], "http", "https", 1)}
			o.Username, o.Password = "", ""
			o.RequestTimeout = busy
		}, storage.ErrUnavailable, "does not use TLS"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			o := good
			o.OutageTimeout = busy
			c.change(&o)
			refused(t, what, o, c.kind, c.remedy)
		})
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(notPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	https := []string{"https://127.0.0.1:1"}
	for remedy, o := range map[string]etcd.Options{
		"address is missing":                {},
		"such as https":                     {Endpoints: []string{"127.0.0.1:2379"}},
		"without user or path":              {Endpoints: []string{"http://u:hunter2@127.0.0.1:1"}},
		"mixes http and https":              {Endpoints: []string{"http://127.0.0.1:1", "https://127.0.0.1:1"}},
		"but address says http":             {Endpoints: []string{"http://127.0.0.1:1"}, CAFile: "ca.pem"},
		"username and password, or neither": {Endpoints: https, Username: "u"},
		"tls_key_file, or neither":          {Endpoints: https, CertFile: "c"},
		"names separated by slashes":        {Endpoints: https, Path: "a//b"},
		"at most 256 bytes":                 {Endpoints: https, Path: strings.Repeat("p", 300)},
		"lease_ttl must be":                 {Endpoints: https, LeaseTTL: time.Millisecond},
		"request_timeout must be":           {Endpoints: https, RequestTimeout: time.Millisecond},
		"no such file":                      {Endpoints: https, CAFile: "absent.pem"},
		"contains no PEM certificate":       {Endpoints: https, CAFile: notPEM},
		"tls_cert_file and tls_key_file":    {Endpoints: https, CertFile: notPEM, KeyFile: notPEM},
	} {
		refused(t, remedy, o, etcd.ErrConfig, remedy)
	}
}

func TestForeignData(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	client := server.Client()
	for key, value := range map[string]string{"/vault/core/keyring": "x", "/later/format": "sealgate 2",
		"/odd/format": "other"} {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	o := options(server)
	o.Path = "vault"
	refused(t, "Vault's data", o, storage.ErrForeign, "use another path")
	o.Path = "odd"
	refused(t, "another's mark", o, storage.ErrForeign, "use another path")
	o.Path = "later"
	refused(t, "a newer format", o, etcd.ErrFormat, "newer program")
}

// TestUnresponsiveEndpoint takes connections and never answers.
func TestUnresponsiveEndpoint(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
		}
	})
	defer conns.Wait()
	defer func() { _ = l.Close() }()
	o := etcd.Options{Endpoints: []string{"http://" + l.Addr().String()}, RequestTimeout: 300 * time.Millisecond}
	start := time.Now()
	refused(t, "unresponsive", o, storage.ErrUnavailable, "did not answer within 300ms (request_timeout)")
	if took := time.Since(start); took > patience {
		t.Errorf("it took %s", took)
	}
	o.Username, o.Password = "u", "hunter2"
	refused(t, "unresponsive, with a user", o, storage.ErrUnavailable, "did not answer")
	o.Endpoints, o.RequestTimeout = []string{"http://127.0.0.1:1"}, busy
	refused(t, "no server", o, storage.ErrUnavailable, "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := etcd.Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with its context ended: %v", err)
	}
}

// TestSilence: every call ends within the request timeout, and calls succeed again when etcd is
// heard again.
func TestSilence(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	o.RequestTimeout = busy
	s, proxy := behind(t, server, o)
	if err := s.Commit(t.Context(), storage.Batch{Ops: put("k", "v")}); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	var calls sync.WaitGroup
	for what, call := range map[string]func() error{
		"Get":      func() error { _, err := s.Get(t.Context(), "k"); return err },
		"List":     func() error { _, err := s.List(t.Context(), "", "", 0); return err },
		"Commit":   func() error { return s.Commit(t.Context(), storage.Batch{Ops: put("late", "v")}) },
		"Snapshot": func() error { return s.Snapshot(t.Context(), func(string, []byte) error { return nil }) },
		"Revision": func() error { _, err := s.Revision(t.Context()); return err },
		"Size":     func() error { _, err := s.Size(t.Context()); return err },
		"Watch":    func() error { _, err := s.Watch(t.Context(), ""); return err },
		"Leader":   func() error { _, _, err := s.Leader(t.Context()); return err },
	} {
		calls.Go(func() {
			err := call()
			if !errors.Is(err, storage.ErrUnavailable) || storage.NothingWritten(err) ||
				!strings.Contains(err.Error(), "request_timeout") {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	calls.Wait()
	elected := make(chan error, 1)
	go func() {
		_, err := s.Campaign(t.Context(), []byte("a"))
		elected <- err
	}()
	proxy.Flow()
	if err := <-elected; err != nil {
		t.Errorf("Campaign through the silence: %v", err)
	}
	want(t, s, "k", "v")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	proxy.Stall()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's own deadline: %v", err)
	}
	proxy.Flow()
}

// TestFull is what etcd does when its database reaches the quota.
func TestFull(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	o := options(server)
	o.LeaseTTL = shortLease
	s := open(t, o)
	leadership := campaign(t, s, "a")
	if err := s.Commit(t.Context(), storage.Batch{Epoch: leadership.Epoch(), Ops: put("k", "v")}); err != nil {
		t.Fatal(err)
	}
	server.RaiseFullAlarm()
	err := s.Commit(t.Context(), storage.Batch{Ops: put("k", "w")})
	if !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), "alarm disarm") {
		t.Errorf("Commit: %v", err)
	}
	want(t, s, "k", "v")
	<-leadership.Lost() // a lease is a write, too
	elected := make(chan error, 1)
	go func() {
		_, err := s.Campaign(t.Context(), []byte("a"))
		elected <- err
	}()
	server.DisarmFullAlarm()
	if err := <-elected; err != nil {
		t.Errorf("Campaign through it: %v", err)
	}
	if err := s.Commit(t.Context(), storage.Batch{Ops: put("k", "w")}); err != nil {
		t.Error(err)
	}
	want(t, s, "k", "w")
}
