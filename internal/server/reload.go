package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/node"
)

// reloadOnSignal reloads on SIGHUP until ctx ends.
func (p *instance) reloadOnSignal(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			p.notified(p.notify.Reloading())
			p.reload()
			p.notified(p.notify.Ready(p.status()))
		}
	}
}

// reload reopens the audit and log files and applies the settings of the configuration that can
// change while the server runs: TLS, the log level, the seals and the schedules of snapshots. A
// part that fails stays as it is. The log lists what was applied, what needs a restart, and what
// was ignored.
func (p *instance) reload() {
	p.reloads.Lock()
	defer p.reloads.Unlock()
	r := &reloading{instance: p, changed: map[string]bool{}}
	p.trail.Reopen()
	r.note("audit files reopened")
	if p.logFile != nil {
		r.done("log file reopened", p.logFile.Reopen())
	}
	next, err := p.reloadConfig()
	if err != nil {
		r.failed = append(r.failed, "configuration: "+err.Error())
		next = p.cfg // certificates and seals may have changed in their files
	} else if p.compare {
		for _, name := range p.cfg.Changed(next) {
			r.changed[name] = true
		}
	}
	r.tls(next)
	r.gatewayTLS()
	r.level(next)
	r.seals(next)
	r.snapshots(next)
	r.report()
}

// reloading is one reload.
type reloading struct {
	*instance
	changed          map[string]bool // settings that differ and were not applied
	applied, failed  []string
	ignored, restart []string
}

func (r *reloading) note(what string) { r.applied = append(r.applied, what) }

func (r *reloading) done(what string, err error) {
	if err != nil {
		r.failed = append(r.failed, fmt.Sprintf("%s: %v", what, err))
		return
	}
	r.note(what)
}

// tls reads certificates and TLS settings again, also from new paths.
func (r *reloading) tls(next *config.Config) {
	for i, s := range r.http {
		l := &r.cfg.Listeners[i]
		if l.TLSDisable {
			continue
		}
		title := fmt.Sprintf("listener %s %s", l.Type, l.Address)
		at := slices.IndexFunc(next.Listeners, func(n config.Listener) bool {
			return n.Type == l.Type && n.Address == l.Address && !n.TLSDisable
		})
		if at < 0 {
			r.done("certificate of "+title, s.Reload())
			continue
		}
		if err := s.ReloadFrom(next.Listeners[at]); err != nil {
			r.failed = append(r.failed, err.Error())
			continue
		}
		was := l.TLSCertFile
		l.CopyTLS(next.Listeners[at])
		if r.compare && len(r.cfg.Changed(withListener(r.cfg, i, next.Listeners[at]))) == 0 {
			delete(r.changed, title)
		}
		if l.TLSCertFile != was {
			title += " from " + l.TLSCertFile
		}
		r.note("certificate of " + title)
	}
}

// withListener is a configuration with one listener replaced.
func withListener(c *config.Config, i int, l config.Listener) *config.Config {
	next := *c
	next.Listeners = slices.Clone(c.Listeners)
	next.Listeners[i] = l
	return &next
}

// level applies the log level, unless the command line or the environment sets it.
func (r *reloading) level(next *config.Config) {
	changed := r.changed["log_level"]
	delete(r.changed, "log_level")
	switch {
	case changed && r.flags.logLevel != "":
		r.ignored = append(r.ignored, "log_level (set by -log-level or the environment)")
	case r.flags.logLevel == "":
		r.hub.SetBase(next.LogLevel)
		r.cfg.LogLevel = next.LogLevel
		if changed {
			r.note("log_level " + strings.ToLower(next.LogLevel.String()))
		}
	}
}

// seals replaces the seals: those of a sealed node always, so that they read their files again,
// those of an unsealed node where their stanzas changed.
func (r *reloading) seals(next *config.Config) {
	if r.node == nil {
		return // recovery mode does not replace its seals
	}
	if _, err := r.node.Role(); err == nil && !r.changedSeals(next) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), replaceWithin)
	defer cancel()
	if err := r.useSeals(ctx, next); err != nil {
		r.failed = append(r.failed, "seals: "+err.Error())
		return
	}
	maps.DeleteFunc(r.changed, func(name string, _ bool) bool { return isSealSetting(name) })
	r.note("seals")
}

// snapshots replaces the schedules of snapshots where their stanzas changed.
func (r *reloading) snapshots(next *config.Config) {
	isSchedule := func(name string, _ bool) bool { return strings.HasPrefix(name, "snapshot ") }
	if r.node == nil || !slices.ContainsFunc(slices.Collect(maps.Keys(r.changed)), func(name string) bool {
		return isSchedule(name, true)
	}) {
		return
	}
	all, err := snapshotSchedules(next, r.getenv)
	if err != nil {
		r.failed = append(r.failed, err.Error())
		return
	}
	node.ReplaceSnapshotSchedules(r.node, all)
	r.cfg.Snapshots = next.Snapshots
	maps.DeleteFunc(r.changed, isSchedule)
	r.note("snapshot schedules")
}

// replaceWithin bounds the proof that changed seals open what the old ones open.
const replaceWithin = time.Minute

// isSealSetting reports whether config.Changed names a seal or their policy by this name.
func isSealSetting(name string) bool {
	return name == "seal_policy" || strings.HasPrefix(name, "seal ")
}

// changedSeals reports whether the stanzas of the seals differ from those in force.
func (p *instance) changedSeals(next *config.Config) bool {
	return p.compare && slices.ContainsFunc(p.cfg.Changed(next), isSealSetting)
}

// useSeals makes the node use the seals of a configuration, and closes those that it used. The
// caller holds p.reloads.
func (p *instance) useSeals(ctx context.Context, next *config.Config) error {
	set, err := p.makeSeals(next)
	if err != nil {
		return err
	}
	old, err := p.node.ReplaceSeals(ctx, set)
	if err != nil {
		return errors.Join(err, set.Close())
	}
	p.mu.Lock()
	p.seals = set
	p.mu.Unlock()
	p.cfg.Seals, p.cfg.SealPolicy = next.Seals, next.SealPolicy
	if err := old.Close(); err != nil {
		p.log.Warn("reload: closing seals", "error", err)
	}
	return nil
}

// readSeals applies the seal stanzas of the configuration as it is now, where they changed.
func (p *instance) readSeals(ctx context.Context) error {
	p.reloads.Lock()
	defer p.reloads.Unlock()
	next, err := p.reloadConfig()
	if err != nil || !p.changedSeals(next) {
		return err
	}
	if err := p.useSeals(ctx, next); err != nil {
		return err
	}
	p.log.Info("the seals of the changed configuration are in use")
	return nil
}

// report logs the reload. Changes that were not applied need a restart.
func (r *reloading) report() {
	r.restart = slices.Sorted(maps.Keys(r.changed))
	list := func(all []string) string { return strings.Join(all, "; ") }
	attrs := []any{"applied", list(r.applied)}
	if len(r.restart) > 0 {
		attrs = append(attrs, "needs_restart", list(r.restart))
	}
	if len(r.ignored) > 0 {
		attrs = append(attrs, "ignored", list(r.ignored))
	}
	switch {
	case len(r.failed) > 0:
		r.log.Error("reload: failed in part; the parts that failed are unchanged", append(attrs, "failed", list(r.failed))...)
	case len(r.restart)+len(r.ignored) > 0:
		r.log.Warn("reload: done, but some settings of the configuration are not in force", attrs...)
	default:
		r.log.Info("reload: done", attrs...)
	}
}
