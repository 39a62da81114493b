// Package sidecar is the program of the Kubernetes KMS v2 plugin: `sealgate kms-plugin`, and
// sealgate-kms-plugin, which is the same without the server.
//
// It guarantees that it starts at once and answers Unavailable while no server of the cluster
// answers, and that nothing but its configuration's files is read. It links no seal, no storage
// backend and no client for the command line, so that the small program stays small.
package sidecar

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/gateway/kmsplugin"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
	"github.com/sealgate/sealgate/internal/harden"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/sdnotify"
)

// pluginMemory is the soft limit of the sidecar's memory: it holds a token and a few connections.
const pluginMemory = 24 << 20

// Env is the environment of a run.
type Env struct {
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Name is the program's name in help texts: "sealgate kms-plugin" or "sealgate-kms-plugin".
type Name string

// Help is the help text of the sidecar.
func (n Name) Help() string {
	return `Usage: ` + string(n) + ` -config FILE

Serves the Kubernetes KMS v2 protocol on a unix socket, by a transit key of a Sealgate, OpenBao or Vault cluster.
It starts at once and answers Unavailable while no server of the cluster answers. Tokens are renewed; certificates,
secret ids and token files are read again when they change.

  socket      = "/run/sealgate/kms.sock"
  address     = ["https://10.0.0.1:8200", "https://10.0.0.2:8200"]
  key         = "kubernetes"
  tls_ca_cert = "/etc/sealgate/ca.pem"
  auth "approle" {
    role_id_file   = "/etc/sealgate/role-id"
    secret_id_file = "/etc/sealgate/secret-id"
  }

Its token needs update on transit/encrypt/kubernetes and transit/decrypt/kubernetes, and read on
transit/keys/kubernetes. The server must not run in the cluster that it protects, and the files must not come from it.

  $ ` + string(n) + ` check -socket /run/sealgate/kms.sock     whether any plugin keeps the API server's contract

SIGINT and SIGTERM stop it. Under systemd, Type=notify is supported.`
}

// Run serves until a signal comes.
func (n Name) Run(args []string, env Env) int {
	f := flag.NewFlagSet("kms-plugin", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	file := f.String("config", config.Env(env.Getenv, "KMS_PLUGIN_CONFIG"), "")
	if err := f.Parse(args); err != nil || *file == "" || f.NArg() > 0 {
		fmt.Fprintln(env.Stderr, n.Help())
		return 1
	}
	if err := serve(*file, env); err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return 1
	}
	return 0
}

func serve(file string, env Env) error {
	if err := harden.Process(); err != nil {
		fmt.Fprintf(env.Stderr, "Warning: other processes of this user can read the memory of this one: %v\n", err)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(pluginMemory)
	}
	cfg, err := config.LoadKMSPlugin(file)
	if err != nil {
		return err
	}
	level, _ := config.Level(cfg.LogLevel)
	hub, err := logs.New(env.Stderr, "standard", level)
	if err != nil {
		return err
	}
	log := hub.Logger("kms-plugin")
	notify, err := sdnotify.New(env.Getenv)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client := kmsplugin.New(kmsplugin.Options{
		Addresses: cfg.Addresses, Mount: cfg.Mount, Key: cfg.Key, Namespace: cfg.Namespace, Log: log,
		TLS: kmsplugin.TLS{CACert: cfg.CACert, ClientCert: cfg.ClientCert, ClientKey: cfg.ClientKey,
			ServerName: cfg.ServerName},
		Auth: kmsplugin.Auth{Kind: cfg.Auth, Mount: cfg.AuthMount, TokenFile: cfg.TokenFile, RoleIDFile: cfg.RoleFile,
			SecretFile: cfg.Secret, Role: cfg.Role},
	})
	registry := metrics.New("", nil)
	registry.Sampled(metrics.SampleRuntime)
	service := kmsv2.New(kmsv2.Options{Key: client, Name: cfg.Name, Budget: cfg.Budget, Deadline: cfg.Deadline,
		Foreign: cfg.Foreign, Log: log, Metrics: registry})
	socket, err := kmsv2.Listen(ctx, cfg.Socket, cfg.PeerUIDs, service)
	if err != nil {
		return err
	}
	health, err := newPluginHealth(ctx, cfg.Health, registry, service)
	if err != nil {
		return errors.Join(err, socket.Shutdown(ctx))
	}
	log.Info("the KMS plugin answers", "socket", cfg.Socket, "servers", len(cfg.Addresses), "key", cfg.Mount+"/"+cfg.Key)
	if err := notify.Ready("serving " + cfg.Socket); err != nil {
		log.Warn("systemd does not get the plugin's state (NOTIFY_SOCKET)", "error", err)
	}
	return runPlugin(ctx, client, socket, health, log)
}

// runPlugin serves until ctx ends or the socket fails.
func runPlugin(ctx context.Context, client *kmsplugin.Client, socket *kmsv2.Server, health *pluginHealth,
	log *slog.Logger,
) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	wg.Go(func() { client.Run(ctx) })
	wg.Go(func() { failed <- socket.Serve() })
	if health != nil {
		wg.Go(func() { failed <- health.serve() })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(err, socket.Shutdown(end), health.shutdown(end))
	wg.Wait()
	log.Info("stopped")
	return err
}

// pluginHealth is the port of liveness, readiness and metrics. Liveness does not depend on any
// server: a restart of the plugin repairs none.
type pluginHealth struct {
	http *http.Server
	l    net.Listener
}

func newPluginHealth(ctx context.Context, address string, r *metrics.Registry, s *kmsv2.Service) (
	*pluginHealth, error,
) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("health_address: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Healthy() {
			http.Error(w, "the last proof of the key failed, or there was none", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_ = r.WritePrometheus(w) // a client that has gone needs no answer
	})
	return &pluginHealth{l: l, http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}}, nil
}

func (h *pluginHealth) serve() error {
	if err := h.http.Serve(h.l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *pluginHealth) shutdown(ctx context.Context) error {
	if h == nil {
		return nil
	}
	return h.http.Shutdown(ctx)
}

// HelpCheck is the help text of the check.
func (n Name) HelpCheck() string {
	return `Usage: ` + string(n) + ` check -socket SOCKET [-timeout 3s]

Asks the Kubernetes KMS v2 plugin at a socket, of any maker, what an API server asks, and reports whether each answer
keeps the API server's limits: times, version, key_id, sizes, annotations, that a ciphertext opens again and a changed
one does not. It encrypts random texts and changes nothing. Run it as the user of the API server.

The exit code is 1 where something fails, 0 otherwise. key_id_hash is what the API server's metrics show.`
}

// RunCheck prints what the check finds.
func (n Name) RunCheck(args []string, env Env) int {
	f := flag.NewFlagSet("kms-plugin check", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	socket := f.String("socket", "", "")
	timeout := f.Duration("timeout", 3*time.Second, "")
	if err := f.Parse(args); err != nil || *socket == "" || f.NArg() > 0 || *timeout <= 0 {
		fmt.Fprintln(env.Stderr, n.HelpCheck())
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	findings, err := kmsv2.Check(ctx, *socket, *timeout)
	if err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return 1
	}
	code := 0
	for _, found := range findings {
		fmt.Fprintf(env.Stdout, "%-4s  %s\n", found.Level, found.Text)
		if found.Level == "fail" {
			code = cmp.Or(code, 1)
		}
	}
	return code
}
