package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/seals"
)

// running is the server that listens on an address of the configuration.
type running struct {
	address string
	version string
	sealed  bool
	seals   []seals.Status
	would   bool
	cluster string // its id; "" while it is sealed
	failure storageFailure

	warnings []string // all of them by a unix socket, else that there are some
}

// listeners checks that each address is free, or used by a Sealgate server.
func (e *exam) listeners(ctx context.Context) {
	for _, l := range e.cfg.Listeners {
		on := e.on("listener", l.Address, l.Pos)
		leaf := e.tls(l)
		if l.Type == "unix" {
			e.socket(ctx, l, on)
			continue
		}
		if l.TLSDisable && !loopback(l.Address) {
			on.warn("give it a certificate, or bind it to 127.0.0.1 behind a proxy with TLS",
				"it serves other machines without TLS: tokens and secrets cross the network unencrypted")
		}
		free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
		switch {
		case err == nil:
			_ = free.Close()
			on.ok("the address is free")
		case errors.Is(err, syscall.EADDRINUSE):
			e.taken(ctx, l, on, leaf)
		case errors.Is(err, syscall.EACCES):
			on.fail("use a port above 1023, or give the program CAP_NET_BIND_SERVICE", "this user may not bind it: %v", err)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			on.fail("use an address of this machine, or 0.0.0.0", "it is not an address of this machine")
		default:
			on.fail("correct the address", "it cannot be bound: %v", err)
		}
	}
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// socket checks the path of a unix socket.
func (e *exam) socket(ctx context.Context, l config.Listener, on topic) {
	info, err := os.Stat(l.Address)
	switch {
	case err == nil && info.Mode()&os.ModeSocket == 0:
		on.fail("move the file away, or use another path", "its path exists and is not a socket")
	case err == nil:
		e.taken(ctx, l, on, nil)
	default:
		if e.writableFolder(on, filepath.Dir(l.Address), "the socket") {
			on.ok("the socket can be created")
		}
	}
}

// taken checks which server uses the address.
func (e *exam) taken(ctx context.Context, l config.Listener, on topic, leaf []byte) {
	r, served, err := e.ask(ctx, l)
	switch {
	case err != nil && l.Type == "unix" && errors.Is(err, syscall.ECONNREFUSED):
		on.ok("a stale socket exists; the server will replace it")
		return
	case err != nil && l.TLSRequireClient:
		on.warn("stop it, if it is not the server of this configuration",
			"the address is in use, and only clients with a certificate can check by what")
		return
	case err != nil:
		on.fail("stop it, or use another address", "the address is in use by a program that is not a Sealgate server: %v",
			err)
		return
	}
	e.running = r
	state := "unsealed"
	if r.sealed {
		state = "sealed"
	}
	on.ok("a Sealgate server, version %s, uses the address; it is %s", r.version, state)
	for _, w := range r.warnings {
		if strings.HasPrefix(w, "the audit device") {
			text, remedy, _ := strings.Cut(w, "; ")
			e.on("audit", "", l.Pos).fail(remedy, "%s", text)
		}
	}
	if leaf != nil && served != nil && string(leaf) != string(served) {
		on.warn("send the server SIGHUP to reload its certificates", "the server has another certificate than the one in %s",
			l.TLSCertFile)
	}
}

// ask reads the state of a server and its certificate.
func (e *exam) ask(ctx context.Context, l config.Listener) (r *running, leaf []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	var status struct {
		Version  string         `json:"version"`
		Release  string         `json:"sealgate_version"`
		Sealed   bool           `json:"sealed"`
		Cluster  string         `json:"cluster_id"`
		Failure  storageFailure `json:"storage_failure"`
		Warnings []string       `json:"warnings"`
	}
	if leaf, err = get(ctx, l, "sys/seal-status", &status); err != nil {
		return nil, nil, err
	}
	var all struct {
		Would    *bool          `json:"would_unseal"`
		Backends []seals.Status `json:"backends"`
	}
	if _, err = get(ctx, l, "sys/seal-backend-status", &all); err != nil {
		return nil, nil, err
	}
	if all.Would == nil {
		return nil, nil, errors.New("it has Vault's API but is another program")
	}
	return &running{address: l.Address, version: cmp.Or(status.Release, status.Version), sealed: status.Sealed,
		seals: all.Backends, would: *all.Would, cluster: status.Cluster,
		failure: status.Failure, warnings: status.Warnings}, leaf, nil
}

// get reads one object from an address of this machine. It does not verify the certificate: it
// sends nothing secret, and the caller compares the certificate.
func get(ctx context.Context, l config.Listener, path string, into any) (leaf []byte, err error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if l.Type == "unix" {
				return (&net.Dialer{}).DialContext(ctx, "unix", l.Address)
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", reachable(l.Address))
		},
	}
	defer transport.CloseIdleConnections()
	scheme := "https"
	if l.TLSDisable {
		scheme = "http"
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/v1/"+path, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("X-Vault-Request", "true")
	a, err := (&http.Client{Transport: transport}).Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s returned status %d", path, a.StatusCode)
	}
	if a.TLS != nil && len(a.TLS.PeerCertificates) > 0 {
		leaf = a.TLS.PeerCertificates[0].Raw
	}
	return leaf, json.NewDecoder(io.LimitReader(a.Body, 1<<20)).Decode(into)
}

// reachable is an address of this machine at which a listener on all addresses can be reached.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
