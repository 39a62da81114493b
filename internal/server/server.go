package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

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
	"github.com/sealgate/sealgate/seals"
)

// instance is a running server, from start to stop.
type instance struct {
	out    io.Writer
	err    io.Writer
	hub    *logs.Hub
	log    *slog.Logger // the root logger
	store  storage.Store
	node   *node.Node         // nil in recovery mode
	mode   *node.RecoveryMode // nil unless in recovery mode
	http   listeners
	shared *api.Shared
	trail  *audit.Trail
	labels *kubernetes.Registration // of the pod; nil: no registration

	peers   net.Listener    // for the other nodes of the cluster; nil: none
	cluster *cluster.Server // on peers

	level        func() error // applies the log level of the configuration again
	reloadConfig func() (*config.Config, error)
	makeSeals    func(*config.Config) (*seals.Set, error)

	mu    sync.Mutex
	seals *seals.Set
	lines []string // of the banner
	pid   string   // path of the pid file

	logFile *logs.File // nil: none
}

// assemble builds the server from its configuration. It opens the storage and the listeners, and
// uses no seal. If it fails, it closes what it opened.
func (c *serverCommand) assemble(o *serverFlags, cfg *config.Config, dev *development) (_ *instance, err error) {
	p := &instance{out: c.env.Stdout, pid: cfg.PIDFile}
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
	if err := p.observability(cfg, c.env.Getenv); err != nil {
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
		Store: observeStore(p.store, p.shared.Metrics), StorageType: cfg.Storage.Type, Seals: p.seals,
		ClusterName: cfg.ClusterName, Engines: engineFactories, AuthMethods: authMethodFactories, Log: p.hub.Logger("core"),
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

// newTrail starts the audit devices of the configuration.
func newTrail(cfg *config.Config, out io.Writer, log *slog.Logger, r *metrics.Registry) (*audit.Trail, error) {
	o := audit.Options{ForbidAPI: !cfg.AuditByAPI, AllowPrefix: cfg.AuditPrefix, Stdout: out, Log: log, Metrics: r}
	for _, a := range cfg.Audit {
		o.Declared = append(o.Declared, a.Device)
	}
	return audit.New(o)
}

func errLevel(word string) error {
	return fmt.Errorf("unknown log level %q: use trace, debug, info, warn or error", word)
}
