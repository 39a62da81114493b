package gcpkms

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Listen configures the addresses of a service.
type Listen struct {
	GRPC string // an address, such as "127.0.0.1:0"
	HTTP string // for health, tokens and administration
	// TokenURL is the OAuth2 endpoint for clients; "" is the HTTP listener's address.
	TokenURL string
	Cert     tls.Certificate
	Admin    string // the administrator's token; "" disables that API
}

// Server is a service with its listeners.
type Server struct {
	service  *Service
	l        Listen
	endpoint string // of gRPC
	url      string
	http     *http.Server

	mu   sync.Mutex
	grpc *grpc.Server // nil while it is unavailable
	done chan struct{}
	wg   sync.WaitGroup
}

// Start listens. [Server.Close] ends it.
func Start(s *Service, l Listen) (*Server, error) {
	web, err := net.Listen("tcp", l.HTTP)
	if err != nil {
		return nil, err
	}
	v := &Server{service: s, l: l, endpoint: l.GRPC, url: "https://" + web.Addr().String()}
	if v.l.TokenURL == "" {
		v.l.TokenURL = v.url + "/token"
	}
	v.http = &http.Server{
		Handler: v.mux(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 30 * time.Second,
		ErrorLog:     slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	if err := v.Back(); err != nil {
		return nil, errors.Join(err, web.Close())
	}
	config := &tls.Config{Certificates: []tls.Certificate{l.Cert}, MinVersion: tls.VersionTLS12}
	v.wg.Go(func() { _ = v.http.Serve(tls.NewListener(web, config)) }) // it ends by Close
	return v, nil
}

// Endpoint is the address of the gRPC service.
func (v *Server) Endpoint() string { return v.endpoint }

// URL is that of the HTTPS listener.
func (v *Server) URL() string { return v.url }

// TokenURL is that of the OAuth2 endpoint.
func (v *Server) TokenURL() string { return v.l.TokenURL }

// Away closes the gRPC listener and every connection, until Back.
func (v *Server) Away() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.grpc != nil {
		v.grpc.Stop()
		<-v.done
		v.grpc = nil
	}
}

// Back listens at the same address again.
func (v *Server) Back() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.grpc != nil {
		return nil
	}
	at, err := net.Listen("tcp", v.endpoint)
	if err != nil {
		return err
	}
	v.endpoint = at.Addr().String()
	v.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{v.l.Cert},
			MinVersion: tls.VersionTLS12})),
		grpc.UnaryInterceptor(v.service.intercept),
	)
	kmspb.RegisterKeyManagementServiceServer(v.grpc, v.service)
	server, done := v.grpc, make(chan struct{})
	v.done = done
	go func() {
		defer close(done)
		_ = server.Serve(at) // it ends by Stop
	}()
	return nil
}

// Close stops the server at once.
func (v *Server) Close() error {
	v.service.Clear()
	v.Away()
	err := v.http.Close()
	v.wg.Wait()
	return err
}

func (v *Server) mux() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "serving",
			"what": "an emulator of Google Cloud KMS; no security product"})
	})
	m.HandleFunc("POST /token", v.service.serveToken(v.l.TokenURL))
	m.HandleFunc("POST /emulator/faults", v.admin(func(r *http.Request) (any, error) {
		var f Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			return nil, err
		}
		return map[string]string{}, v.service.Inject(f)
	}))
	m.HandleFunc("DELETE /emulator/faults", v.admin(func(*http.Request) (any, error) {
		v.service.Clear()
		return map[string]string{}, nil
	}))
	m.HandleFunc("GET /emulator/calls", v.admin(func(*http.Request) (any, error) { return v.service.Calls(), nil }))
	m.HandleFunc("POST /emulator/act", v.admin(func(r *http.Request) (any, error) {
		var do struct{ Action, Name string }
		if err := json.NewDecoder(r.Body).Decode(&do); err != nil {
			return nil, err
		}
		return map[string]string{}, v.service.Act(do.Action, do.Name)
	}))
	return m
}

// admin authenticates the administrator.
func (v *Server) admin(f func(*http.Request) (any, error)) http.HandlerFunc {
	want := sha256.Sum256([]byte(v.l.Admin))
	return func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		if v.l.Admin == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			answer(w, http.StatusForbidden, map[string]string{"error": "this needs the administrator's token"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		out, err := f(r)
		if err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		answer(w, http.StatusOK, out)
	}
}

// Healthy asks an emulator whether it serves, for health checks of containers that have no other
// client.
func Healthy(ctx context.Context, url string, config *tls.Config) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}
