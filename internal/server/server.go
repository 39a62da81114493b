package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/operate"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/kubernetes"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/postgres"
	"github.com/sealgate/sealgate/seals"
)

// stopWithin bounds the time that requests under way get when the server is told to stop.
const stopWithin = 10 * time.Second

// process is a server from its start to its end.
type process struct {
	out    io.Writer
	err    io.Writer
	hub    *logs.Hub
	log    *slog.Logger // what no other logger says
	store  storage.Store
	node   *node.Node         // nil in recovery mode
	mode   *node.RecoveryMode // nil but in recovery mode
	http   listeners
	shared *api.Shared
	trail  *audit.Trail
	labels *kubernetes.Registration // of the pod; nil: none

	peers   net.Listener    // for the other nodes of a cluster; nil without
	cluster *cluster.Server // on it

	level        func() error // takes the log's level from the configuration again
	reloadConfig func() (*config.Config, error)
	makeSeals    func(*config.Config) (*seals.Set, error)

	mu    sync.Mutex
	seals *seals.Set
	lines []string // of the banner
	pid   string   // path of the pid file

	logFile *logs.File // nil: none
}

// assemble builds the server from its configuration. It opens the storage and the listeners and touches no seal.
func (c *serverCommand) assemble(o *serverFlags, cfg *config.Config, dev *development) (_ *process, err error) {
	p := &process{out: c.env.Stdout, pid: cfg.PIDFile}
	var lines io.Writer = c.env.Stderr
	if p.logFile, err = openLogFile(cfg.LogFile); err != nil {
		return nil, err
	} else if p.logFile != nil {
		lines = io.MultiWriter(lines, p.logFile)
		defer func() {
			if err != nil {
				err = errors.Join(err, p.logFile.Close())
			}
		}()
	}
	if p.hub, err = newLogs(lines, o, cfg); err != nil {
		return nil, err
	}
	p.log, p.err = p.hub.Logger(""), c.env.Stderr
	if err := p.watch(cfg, c.env.Getenv); err != nil {
		return nil, err
	}
	p.level = func() error {
		cfg, err := p.reloadConfig()
		if err != nil {
			return err
		}
		level, err := o.level(cfg)
		if err == nil {
			p.hub.SetBase(level)
		}
		return err
	}
	p.reloadConfig = func() (*config.Config, error) { return config.Load(o.configs, c.env.Getenv) }
	p.makeSeals = func(cfg *config.Config) (*seals.Set, error) {
		return newSeals(cfg, c.env.Getenv, p.hub.Logger("seal"), observeSeal(p.shared.Metrics))
	}
	if p.seals, err = p.makeSeals(cfg); err != nil {
		return nil, err
	}
	if p.trail, err = newTrail(cfg, p.out, p.hub.Logger("audit"), p.shared.Metrics); err != nil {
		return nil, errors.Join(err, p.seals.Close())
	}
	if p.store, err = openStore(cfg.Storage, p.hub.Logger("storage")); err != nil {
		return nil, errors.Join(err, p.trail.Close(), p.seals.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.closePeers(), p.store.Close(), p.trail.Close(), p.seals.Close())
		}
	}()
	nc := node.Config{
		Store: observeStore(p.store, p.shared.Metrics), StorageType: cfg.Storage.Type, Seals: p.seals, ClusterName: cfg.ClusterName, Engines: engineFactories, AuthMethods: authMethodFactories, Log: p.hub.Logger("core"),
		Trail: p.trail, Metrics: p.shared.Metrics,
	}
	if dev != nil {
		nc.Mounts, nc.RootToken = dev.mounts(), o.devRootToken
	}
	nc.Timing.Ceremony, nc.Timing.Answer = cfg.Ceremony.Expiry, cfg.Ceremony.KeepAnswer
	if nc.Timing.Answer == 0 {
		nc.Timing.Answer = -1 // the node's zero is its default
	}
	if nc.Cluster, err = p.joinCluster(cfg, o.recovery); err != nil {
		return nil, err
	}
	if o.recovery {
		p.mode, err = node.NewRecovery(nc)
	} else {
		p.node, err = node.New(nc)
	}
	if err != nil {
		return nil, err
	}
	if p.node != nil {
		operate.Observe(p.shared, p.node)
	}
	if p.labels, err = newLabels(cfg.Kubernetes, p.node, c.env.Getenv, p.hub.Logger("kubernetes")); err != nil {
		return nil, err
	}
	if p.http, err = p.listen(cfg); err != nil {
		return nil, err
	}
	p.describe(cfg)
	return p, nil
}

// openStore opens what the storage stanza names.
func openStore(s *config.Storage, log *slog.Logger) (storage.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var store storage.Store
	var err error
	switch s.Type {
	case "inmem":
		return inmem.New(), nil
	case "etcd":
		store, err = etcd.Open(ctx, etcdOptions(s.Etcd, log))
	case "postgresql":
		store, err = postgres.Open(ctx, postgresOptions(s.PostgreSQL, log))
	default:
		store, err = bbolt.Open(ctx, s.Path, bbolt.Options{Log: log})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Pos, err)
	}
	return store, nil
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

// newTrail starts the audit devices that the configuration names.
func newTrail(cfg *config.Config, out io.Writer, log *slog.Logger, r *metrics.Registry) (*audit.Trail, error) {
	o := audit.Options{ForbidAPI: !cfg.AuditByAPI, AllowPrefix: cfg.AuditPrefix, Stdout: out, Log: log, Metrics: r}
	for _, a := range cfg.Audit {
		o.Declared = append(o.Declared, a.Device)
	}
	return audit.New(o)
}

// run serves until ctx ends, then lets requests under way finish, seals, and closes everything.
func (p *process) run(ctx context.Context, dev *development) error {
	if err := p.writePID(); err != nil {
		return errors.Join(err, p.http.shutdown(ctx), p.store.Close(), p.trail.Close(), p.seals.Close())
	}
	nodeCtx, stopNode := context.WithCancel(context.Background())
	defer stopNode()
	var wg sync.WaitGroup
	if p.node != nil {
		wg.Go(func() { p.node.Run(nodeCtx) })
	}
	failed := make(chan error, 1)
	wg.Go(func() { failed <- p.http.serve() })
	if p.cluster != nil {
		wg.Go(func() {
			if err := p.cluster.Serve(); err != nil {
				p.log.Error("the other nodes cannot reach this one", "error", err)
			}
		})
	}
	if p.labels != nil {
		wg.Go(func() { p.labels.Run(ctx) }) // the pod is no longer selected before requests are turned away
	}
	wg.Go(func() { p.reloadOnSignal(nodeCtx) })
	wg.Go(func() { dumpOnSignal(nodeCtx, p.err) })
	p.banner()
	var err error
	if dev != nil {
		err = dev.begin(ctx, p)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			p.log.Info("stopping: requests under way may finish", "within", stopWithin.String())
		case err = <-failed:
		}
	}
	stopCtx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if p.node != nil {
		p.retire(stopCtx)
	}
	err = errors.Join(err, p.http.shutdown(stopCtx), p.closeCluster(stopCtx), p.shared.Tracer.Close(stopCtx))
	stopNode()
	wg.Wait()
	if p.mode != nil {
		err = errors.Join(err, p.mode.Close(stopCtx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err = errors.Join(err, p.store.Close(), p.trail.Close(), p.seals.Close(), p.removePID())
	p.log.Info("stopped")
	if p.logFile != nil {
		err = errors.Join(err, p.logFile.Close())
	}
	return err
}

// reloadOnSignal answers SIGHUP until ctx ends.
func (p *process) reloadOnSignal(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			p.reload()
		}
	}
}

// reload opens the files of the audit trail anew, reads certificates again and, while the node is sealed, the seals' configuration. What fails leaves what is in use.
func (p *process) reload() {
	p.trail.Reopen()
	if p.logFile != nil {
		if err := p.logFile.Reopen(); err != nil {
			p.log.Error("reload: the log goes on to the file that is open", "error", err)
		}
	}
	if err := p.http.reload(); err != nil {
		p.log.Error("reload: the certificates in use stay", "error", err)
	} else {
		p.log.Info("reload: certificates read again")
	}
	if err := p.level(); err != nil {
		p.log.Error("reload: the log's level stays", "error", err)
	}
	if p.node == nil {
		return // in recovery mode the seals stay as they are
	}
	if _, err := p.node.Role(); err == nil {
		return
	}
	cfg, err := p.reloadConfig()
	if err != nil {
		p.log.Error("reload: the configuration in use stays", "error", err)
		return
	}
	set, err := p.makeSeals(cfg)
	if err != nil {
		p.log.Error("reload: the seals in use stay", "error", err)
		return
	}
	old, err := p.node.ReplaceSeals(set)
	if err != nil {
		p.log.Info("reload: the seals in use stay", "reason", err.Error())
		old = set
	} else {
		p.mu.Lock()
		p.seals = set
		p.mu.Unlock()
		p.log.Info("reload: seals made anew from the configuration")
	}
	if err := old.Close(); err != nil {
		p.log.Warn("reload: closing seals", "error", err)
	}
}

func (p *process) writePID() error {
	if p.pid == "" {
		return nil
	}
	return os.WriteFile(p.pid, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
}

func (p *process) removePID() error {
	if p.pid == "" {
		return nil
	}
	return os.Remove(p.pid)
}

func errLevel(word string) error {
	return fmt.Errorf("log level %q is unknown: trace, debug, info, warn or error", word)
}
