package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/deferred"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/postgres"
)

// openStore opens the storage of a stanza. With wait, that of a cluster may be unavailable: it is
// then opened in the background.
func openStore(s *config.Storage, log *slog.Logger, wait bool) (storage.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var store storage.Store
	var err error
	switch s.Type {
	case "inmem":
		return inmem.New(), nil
	case "etcd":
		store, err = open(ctx, log, wait, func(ctx context.Context) (storage.Store, error) {
			return opened(etcd.Open(ctx, etcdOptions(s.Etcd, log)))
		})
	case "postgresql":
		store, err = open(ctx, log, wait, func(ctx context.Context) (storage.Store, error) {
			return postgres.Open(ctx, postgresOptions(s.PostgreSQL, log))
		})
	default:
		store, err = bbolt.Open(ctx, s.Path, bbolt.Options{Log: log})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Pos, err)
	}
	return store, nil
}

func open(ctx context.Context, log *slog.Logger, wait bool,
	f func(context.Context) (storage.Store, error)) (storage.Store, error) {
	if !wait {
		return f(ctx)
	}
	return deferred.Open(ctx, deferred.Options{Open: f, Log: log})
}

// opened keeps a nil *etcd.Store from becoming a store.
func opened(s *etcd.Store, err error) (storage.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func etcdOptions(e *config.Etcd, log *slog.Logger) etcd.Options {
	return etcd.Options{
		Endpoints: e.Address, Path: e.Path, Username: e.Username, Password: e.Secrets["password"],
		CAFile: e.TLSCAFile, CertFile: e.TLSCertFile, KeyFile: e.TLSKeyFile, ServerName: e.TLSServerName,
		RequestTimeout: e.RequestTimeout, LeaseTTL: e.LeaseTTL, DisableCompaction: e.DisableCompaction, Log: log,
	}
}

func postgresOptions(p *config.PostgreSQL, log *slog.Logger) postgres.Options {
	return postgres.Options{
		URL: p.Secrets["connection_url"], Table: p.Table, SkipCreateTable: p.SkipCreateTable,
		MaxParallel: int(p.MaxParallel), MaxIdle: int(p.MaxIdle), ConnectRetries: int(p.ConnectRetries),
		CallTimeout: p.RequestTimeout, Lease: p.LeaseTTL, Log: log,
	}
}
