package doctor

import (
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
	"syscall"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/seals"
)

// running is a server that holds an address of the configuration.
type running struct {
	address string
	version string
	sealed  bool
	seals   []seals.Status
	would   bool
}

// listeners looks whether each address is free, or held by a server of this kind.
func (e *exam) listeners(ctx context.Context) {
	for _, l := range e.cfg.Listeners {
		on := e.on("listener", l.Address, l.Pos)
		leaf := e.tls(l)
		if l.Type == "unix" {
			e.socket(ctx, l, on)
			continue
		}
		if l.TLSDisable && !loopback(l.Address) {
			on.warn("give it a certificate, or bind it to 127.0.0.1 behind something that has one",
				"it speaks to other machines without TLS: tokens and secrets cross the network in the clear")
		}
		free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
		switch {
		case err == nil:
			_ = free.Close()
			on.ok("the address is free")
		case errors.Is(err, syscall.EADDRINUSE):
			e.taken(ctx, l, on, leaf)
		case errors.Is(err, syscall.EACCES):
			on.fail("take a port above 1023, or give the program CAP_NET_BIND_SERVICE", "this user may not bind it: %v", err)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			on.fail("name an address of this machine, or 0.0.0.0", "it is no address of this machine")
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

// socket looks at the place of a socket in the file system. A file there is not taken away, as the server would.
func (e *exam) socket(ctx context.Context, l config.Listener, on topic) {
	info, err := os.Stat(l.Address)
	switch {
	case err == nil && info.Mode()&os.ModeSocket == 0:
		on.fail("move the file away, or name another path", "there is something else than a socket at its path")
	case err == nil:
		e.taken(ctx, l, on, nil)
	default:
		if e.writableFolder(on, filepath.Dir(l.Address), "the socket") {
			on.ok("the socket can be made")
		}
	}
}

// taken asks whoever holds the address.
func (e *exam) taken(ctx context.Context, l config.Listener, on topic, leaf []byte) {
	r, served, err := e.ask(ctx, l)
	switch {
	case err != nil && l.Type == "unix" && errors.Is(err, syscall.ECONNREFUSED):
		on.ok("a socket that nobody serves is left there; the server replaces it")
		return
	case err != nil && l.TLSRequireClient:
		on.warn("end it, if it is not the server of this configuration",
			"something holds the address, and only clients with a certificate may ask it what it is")
		return
	case err != nil:
		on.fail("end it, or name another address", "something holds the address that does not answer as a Sealgate server does: %v", err)
		return
	}
	e.running = r
	state := "unsealed"
	if r.sealed {
		state = "sealed"
	}
	on.ok("a Sealgate server, version %s, holds the address; it is %s", r.version, state)
	if leaf != nil && served != nil && string(leaf) != string(served) {
		on.warn("send the server SIGHUP, so that it reads its certificates again", "the server shows another certificate than the one in %s", l.TLSCertFile)
	}
}

// ask gets the state of a server, and the certificate that it shows.
func (e *exam) ask(ctx context.Context, l config.Listener) (r *running, leaf []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	var status struct {
		Version string `json:"version"`
		Sealed  bool   `json:"sealed"`
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
		return nil, nil, errors.New("it speaks Vault's protocol and is another program")
	}
	return &running{address: l.Address, version: status.Version, sealed: status.Sealed, seals: all.Backends, would: *all.Would}, leaf, nil
}

// get reads one object from this machine's own address. Whose certificate it is, is looked at by the caller: nothing secret is sent or
// believed.
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
		return nil, fmt.Errorf("%s answers with status %d", path, a.StatusCode)
	}
	if a.TLS != nil && len(a.TLS.PeerCertificates) > 0 {
		leaf = a.TLS.PeerCertificates[0].Raw
	}
	return leaf, json.NewDecoder(io.LimitReader(a.Body, 1<<20)).Decode(into)
}

// reachable is where a listener of all addresses answers on this machine.
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
