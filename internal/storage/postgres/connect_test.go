package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// TestPasswordsDoNotShow: in no error and no log, however wrong the URL is.
func TestPasswordsDoNotShow(t *testing.T) {
	t.Parallel()
	unused, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	server := strings.Replace(pgtest.Database(t), pgtest.Password, "hunter2", 1)
	for _, url := range []string{
		server,
		"postgres://u:hunter2@" + unused + "/d?sslmode=disable",
		"postgres://u:hunter2@127.0.0.1:port/d",
		"postgres://u:hunter2%zz@h/d",
		"postgres://u:hunter2#x@h/d",
		"postgres://u:hunter2/x@h/d",
		"postgres://u:12345?hunter2@h/d",
		"postgres://u:@hunter2@h:x/d",
		"postgresql://u:hunter2@h/d?sslmode=sometimes",
		"postgres://u@h/d?sslmode=verify-full&sslrootcert=/none&password=hunter2",
		"host=h user=u password=hunter2 port=x",
		"host=h user=u password='hunter2",
		"host=h password=hunter2 =",
		"u:hunter2@h",
	} {
		var log logBuffer
		_, err := Open(t.Context(), Options{URL: url, ConnectRetries: 1, CallTimeout: 2 * time.Second, Log: log.logger()})
		if err == nil {
			t.Errorf("%s: no error", url)
			continue
		}
		shown := fmt.Sprintf("%v %+v %#v", err, err, err) + log.String()
		for e := err; e != nil; e = errors.Unwrap(e) {
			shown += fmt.Sprintf(" %#v", e)
		}
		if strings.Contains(shown, "hunter2") {
			t.Errorf("%s: the password shows: %s", url, shown)
		}
	}
	_, err = Open(t.Context(), Options{URL: server})
	wantError(t, err, storage.ErrUnavailable, "connection_url", "password authentication failed")
}

// TestTransportWarnings: what may cross a network unprotected is said loudly.
func TestTransportWarnings(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u@127.0.0.1/d?sslmode=disable":           "",
		"postgres://u@localhost/d":                           "",
		"host=/run/postgresql user=u":                        "",
		"postgres://u@[::1]/d?sslmode=disable":               "",
		"postgres://u@db.example.com/d?sslmode=verify-full":  "",
		"postgres://u@db.example.com/d?sslmode=disable":      "without TLS",
		"postgres://u@db.example.com/d":                      "without TLS", // prefer
		"postgres://u@db.example.com/d?sslmode=allow":        "without TLS",
		"postgres://u@db.example.com/d?sslmode=require":      "does not verify",
		"postgres://u@127.0.0.1,10.0.0.1/d?sslmode=disable":  "10.0.0.1",
		"host=10.0.0.2 user=u sslmode=disable password='pw'": "10.0.0.2",
	} {
		var log logBuffer
		if _, err := configure(Options{URL: url, MaxParallel: 1, Log: log.logger()}, names{}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if shown := log.String(); want == "" && shown != "" || !strings.Contains(shown, want) ||
			strings.Contains(shown, "pw") {
			t.Errorf("%s: %q; want %q", url, shown, want)
		}
	}
}

// TestTLS: a server that is verified, and one that is not.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	ca := server.EnableTLS(t)
	pgtest.Exec(t, server.URL("postgres"), `CREATE DATABASE d`)
	url := func(mode string) string {
		return strings.Replace(server.URL("d"), "sslmode=disable", mode, 1)
	}
	s := open(t, Options{URL: url("sslmode=verify-full&sslrootcert=" + ca)})
	put(t, s, "k", "v")
	var encrypted bool
	err := s.pool.QueryRow(t.Context(), `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted)
	if err != nil || !encrypted {
		t.Errorf("encrypted: %v, %v", encrypted, err)
	}
	_, err = Open(t.Context(), Options{URL: url("sslmode=verify-full"), ConnectRetries: 1})
	wantError(t, err, storage.ErrUnavailable, "certificate")
}

// TestFirstConnection: a database that is not there yet is waited for.
func TestFirstConnection(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	url := server.Database(t)
	server.Stop(t)
	_, err := Open(t.Context(), Options{URL: url, ConnectRetries: 2})
	wantError(t, err, storage.ErrUnavailable, "connecting")
	opened := make(chan error)
	go func() {
		s, err := Open(t.Context(), Options{URL: url})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	server.Restart(t)
	if err := <-opened; err != nil {
		t.Errorf("Open while the database starts: %v", err)
	}
}

// TestPoolBounds: no more connections than were asked for, and no more idle ones are kept.
func TestPoolBounds(t *testing.T) {
	t.Parallel()
	s := open(t, Options{URL: pgtest.Database(t), MaxParallel: 4, MaxIdle: 1})
	put(t, s, "k", "v")
	done := make(chan error, 32)
	for range cap(done) {
		go func() { _, err := s.Get(t.Context(), "k"); done <- err }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// One may be kept by each that looked at once.
	testkit.Eventually(t, "at most 2 connections are kept", func() bool { return s.pool.Stat().TotalConns() <= 2 })
}

// TestPrimaryIsFound: of several hosts, the one that takes writes is used.
func TestPrimaryIsFound(t *testing.T) {
	t.Parallel()
	primary, standby := pgtest.Start(t), pgtest.Start(t, "default_transaction_read_only=on")
	url := pgtest.URL(standby.Addr()+","+primary.Addr(), "postgres")
	s := open(t, Options{URL: url})
	put(t, s, "k", "v")
	holds(t, s, "k", "v")
	_, err := Open(t.Context(), Options{URL: standby.URL("postgres"), ConnectRetries: 1})
	wantError(t, err, storage.ErrUnavailable, "takes no writes")
}
