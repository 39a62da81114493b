package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/anchor"
	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/operate"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
	"github.com/sealgate/sealgate/internal/kubernetes"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/sdnotify"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/ui"
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
	gates  gateways                  // protocols of other systems
	kms    map[string]*kmsv2.Service // of gates, by name
	shared *api.Shared
	trail  *audit.Trail
	labels *kubernetes.Registration // of the pod; nil: no registration

	browsers *ui.Sessions // signed in to the web interface

	peers   net.Listener    // for the other nodes of the cluster; nil: none
	cluster *cluster.Server // on peers

	cfg          *config.Config // in force
	flags        *serverFlags
	getenv       func(string) string
	compare      bool // a reload compares the configuration: not for a development server
	reloadConfig func() (*config.Config, error)
	makeSeals    func(*config.Config) (*seals.Set, error)
	notify       *sdnotify.Notifier // nil: no service manager

	reloads sync.Mutex // held during a reload

	mu    sync.Mutex
	seals *seals.Set

	oldSeals *seals.Set // that a store is migrated from; nil: none
	lines    []string   // of the banner
	pid      string     // path of the pid file

	logFile *logs.File // nil: none
}

// assemble builds the server from its configuration. It opens the storage and the listeners, and
// uses no seal. If it fails, it closes what it opened.
func (c *serverCommand) assemble(o *serverFlags, cfg *config.Config, dev *development) (_ *instance, err error) {
	if cfg.FIPS {
		if err := fips.Require(); err != nil {
			return nil, err
		}
	}
	p := &instance{out: c.env.Stdout, err: c.env.Stderr, pid: cfg.PIDFile, cfg: cfg, flags: o, getenv: c.env.Getenv,
		compare: dev == nil, browsers: ui.NewSessions(time.Now)}
	p.reloadConfig = func() (*config.Config, error) { return config.Load(o.configs, c.env.Getenv) }
	p.makeSeals = func(cfg *config.Config) (*seals.Set, error) {
		return p.sealMaker().set(cfg)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.closeParts())
		}
	}()
	for _, open := range []func() error{p.openLog, p.openParts, func() error { return p.openNode(dev) }} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	if p.labels, err = newLabels(cfg.Kubernetes, p.node, c.env.Getenv, p.hub.Logger("kubernetes")); err != nil {
		return nil, err
	}
	if p.http, err = p.listen(cfg); err != nil {
		return nil, err
	}
	if p.gates, err = p.openGateways(cfg); err != nil {
		return nil, errors.Join(err, p.http.shutdown(context.Background()))
	}
	p.describe(cfg)
	return p, nil
}

func (p *instance) sealMaker() sealMaker {
	return sealMaker{p.getenv, p.hub.Logger("seal"), observeSeal(p.shared.Metrics)}
}

// openLog opens the log, metrics and traces.
func (p *instance) openLog() (err error) {
	lines := p.err
	if p.logFile, err = openLogFile(p.cfg.LogFile); err != nil {
		return err
	}
	if p.logFile != nil {
		lines = io.MultiWriter(lines, p.logFile)
	}
	if p.hub, err = newLogs(lines, p.flags, p.cfg); err != nil {
		return err
	}
	p.log = p.hub.Logger("")
	p.lockMemory()
	p.limitMemory()
	p.collectLess()
	return p.observability(p.cfg, p.getenv)
}

// lockMemory prepares the pages of long-lived keys.
func (p *instance) lockMemory() {
	if err := secret.PrepareLocked(!p.cfg.DisableMlock); err != nil {
		p.log.Warn("the memory of keys may be written to swap or to a core dump", "error", err, "remedy",
			"raise the limit of locked memory (LimitMEMLOCK=1M in its systemd unit), or disable swap and set disable_mlock")
	}
}

// openParts makes the seals and opens the audit trail and the storage.
func (p *instance) openParts() (err error) {
	if p.notify, err = sdnotify.New(p.getenv); err != nil {
		return err
	}
	if p.seals, err = p.makeSeals(p.cfg); err != nil {
		return err
	}
	if p.oldSeals, err = p.sealMaker().migrateFrom(p.cfg); err != nil {
		return err
	}
	if p.trail, err = newTrail(p.cfg, p.out, p.hub.Logger("audit"), p.shared.Metrics); err != nil {
		return err
	}
	p.store, err = openStore(p.cfg.Storage, p.hub.Logger("storage"), !p.flags.recovery)
	return err
}

// openNode makes the node, or that of recovery mode.
func (p *instance) openNode(dev *development) (err error) {
	cfg := p.cfg
	nc := node.Config{
		Store: observeStore(p.store, p.shared.Metrics, p.hub.Logger("storage")), StorageType: cfg.Storage.Type,
		Seals:       p.seals,
		ClusterName: cfg.ClusterName, Engines: engineFactories, AuthMethods: authMethodFactories, Log: p.hub.Logger("core"),
		Trail: p.trail, Metrics: p.shared.Metrics, Devices: p.newDevices(), DeviceEngines: deviceEngines,
		ReadSeals: p.readSeals, MigrateFrom: p.oldSeals,
	}
	if nc.Snapshots, err = snapshotSchedules(cfg, p.getenv); err != nil {
		return err
	}
	nc.ClusterID, nc.AcceptRollback, nc.BreakGlass = cfg.ClusterID, p.flags.acceptRollback, cfg.BreakGlass
	switch a := cfg.Anchor; {
	case a.Seal != "":
		nc.Anchor = &anchor.Token{Label: a.Label, Keeper: func() (anchor.Keeper, error) { return p.keeper(a.Seal) }}
	case a.File != "":
		nc.Anchor = anchor.File(a.File)
		if s, ok := p.store.(interface {
			LastCommit(context.Context) (uint64, error)
		}); ok {
			nc.LastCommit = s.LastCommit
		}
	}
	if dev != nil {
		nc.Mounts, nc.RootToken = dev.mounts(), p.flags.devRootToken
	}
	nc.Timing.Ceremony, nc.Timing.Answer = cfg.Ceremony.Expiry, cfg.Ceremony.KeepAnswer
	if nc.Timing.Answer == 0 {
		nc.Timing.Answer = -1 // the node's zero is its default
	}
	if nc.Cluster, err = p.joinCluster(cfg, p.flags.recovery); err != nil {
		return err
	}
	if p.flags.recovery {
		p.mode, err = node.NewRecovery(nc)
		return err
	}
	if p.node, err = node.New(nc); err == nil {
		operate.Observe(p.shared, p.node)
	}
	return err
}

// keeper returns the seal whose token keeps the anchor, which a reload may replace.
func (p *instance) keeper(name string) (anchor.Keeper, error) {
	p.mu.Lock()
	set := p.seals
	p.mu.Unlock()
	for _, s := range set.Seals() {
		if k, ok := s.Wrapper.(anchor.Keeper); ok && s.Name == name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("the seal %q, whose token keeps the anchor, is not configured", name)
}

// closeParts closes what a failed start opened.
func (p *instance) closeParts() error {
	errs := []error{p.closePeers()}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.trail != nil {
		errs = append(errs, p.trail.Close())
	}
	for _, set := range []*seals.Set{p.seals, p.oldSeals} {
		if set != nil {
			errs = append(errs, set.Close())
		}
	}
	if p.logFile != nil {
		errs = append(errs, p.logFile.Close())
	}
	return errors.Join(errs...)
}

// newTrail starts the audit devices of the configuration.
func newTrail(cfg *config.Config, out io.Writer, log *slog.Logger, r *metrics.Registry) (*audit.Trail, error) {
	o := cfg.AuditOptions()
	o.Stdout, o.Log, o.Metrics = out, log, r
	return audit.New(o)
}

func errLevel(word string) error {
	return fmt.Errorf("unknown log level %q: use trace, debug, info, warn or error", word)
}
