package server

import (
	"context"
	"os"
	"os/signal"
	"syscall"
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
			p.reload()
		}
	}
}

// reload reopens the audit and log files, reads the certificates and the log level again and, while
// the node is sealed, the configuration of the seals. A part that fails stays as it is.
func (p *instance) reload() {
	p.trail.Reopen()
	if p.logFile != nil {
		if err := p.logFile.Reopen(); err != nil {
			p.log.Error("reload: the log file was not reopened; logging continues to the open file", "error", err)
		}
	}
	if err := p.http.reload(); err != nil {
		p.log.Error("reload: the certificates are unchanged", "error", err)
	} else {
		p.log.Info("reload: certificates reloaded")
	}
	if err := p.level(); err != nil {
		p.log.Error("reload: the log level is unchanged", "error", err)
	}
	if p.node == nil {
		return // recovery mode does not replace its seals
	}
	if _, err := p.node.Role(); err == nil {
		return
	}
	cfg, err := p.reloadConfig()
	if err != nil {
		p.log.Error("reload: the configuration is unchanged", "error", err)
		return
	}
	set, err := p.makeSeals(cfg)
	if err != nil {
		p.log.Error("reload: the seals are unchanged", "error", err)
		return
	}
	old, err := p.node.ReplaceSeals(set)
	if err != nil {
		p.log.Info("reload: the seals are unchanged", "reason", err.Error())
		old = set
	} else {
		p.mu.Lock()
		p.seals = set
		p.mu.Unlock()
		p.log.Info("reload: seals replaced from the configuration")
	}
	if err := old.Close(); err != nil {
		p.log.Warn("reload: closing seals", "error", err)
	}
}
