package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// stopWithin bounds the wait for requests in flight when the server stops.
const stopWithin = 10 * time.Second

// run serves until ctx ends, then waits for requests in flight, seals, and closes everything.
func (p *instance) run(ctx context.Context, dev *development) error {
	if err := p.writePID(); err != nil {
		return errors.Join(err, p.http.shutdown(ctx), p.gates.shutdown(ctx), p.closeParts())
	}
	ctx, stopping := context.WithCancel(ctx) // also when a listener fails
	defer stopping()
	nodeCtx, stopNode := context.WithCancel(context.Background())
	defer stopNode()
	var wg sync.WaitGroup
	failed := p.start(ctx, nodeCtx, &wg)
	p.banner()
	p.notified(p.notify.Ready(p.status()))
	var err error
	if dev != nil {
		err = dev.begin(ctx, p)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			p.log.Info("stopping: waiting for requests in flight", "within", stopWithin.String())
		case err = <-failed:
		}
	}
	stopping()
	p.notified(p.notify.Stopping())
	return errors.Join(err, p.stop(stopNode, &wg))
}

// start starts the goroutines of the server: those on ctx end when the stop begins, those on
// nodeCtx when requests have ended. The channel gets the error of a listener.
func (p *instance) start(ctx, nodeCtx context.Context, wg *sync.WaitGroup) <-chan error {
	if p.node != nil {
		wg.Go(func() { p.node.Run(nodeCtx) })
	}
	failed := make(chan error, 1)
	wg.Go(func() { failed <- p.http.serve() })
	p.gates.serve(wg, p.hub.Logger("gateway"))
	if p.cluster != nil {
		wg.Go(func() {
			if err := p.cluster.Serve(); err != nil {
				p.log.Error("the cluster listener failed; other nodes cannot reach this one", "error", err)
			}
		})
	}
	if p.labels != nil {
		wg.Go(func() { p.labels.Run(ctx) }) // a Service stops selecting the pod before requests are refused
	}
	wg.Go(func() { p.reloadOnSignal(nodeCtx) })
	wg.Go(func() { dumpOnSignal(nodeCtx, p.err) })
	wg.Go(func() { p.notify.Run(ctx, p.status) })
	wg.Go(func() { p.watchDescriptors(ctx) })
	wg.Go(func() { p.releaseStartPages(ctx) })
	wg.Go(func() { p.browsers.Run(nodeCtx) })
	return failed
}

// stop lets another node lead, waits for requests in flight, and closes everything.
func (p *instance) stop(stopNode func(), wg *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if p.node != nil {
		p.retire(ctx)
	}
	err := errors.Join(p.http.shutdown(ctx), p.gates.shutdown(ctx), p.closeCluster(ctx), p.shared.Tracer.Close(ctx))
	stopNode()
	wg.Wait()
	if p.mode != nil {
		err = errors.Join(err, p.mode.Close(ctx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err = errors.Join(err, p.store.Close(), p.trail.Close(), p.seals.Close(), p.removePID())
	if p.oldSeals != nil {
		err = errors.Join(err, p.oldSeals.Close())
	}
	p.log.Info("stopped")
	if p.logFile != nil {
		err = errors.Join(err, p.logFile.Close())
	}
	return err
}

// status is the state of the server in a few words, for the service manager.
func (p *instance) status() string {
	if p.node == nil {
		return "recovery mode"
	}
	switch h := p.node.Health(); {
	case !h.Initialized:
		return "not initialized"
	case h.Sealed && !h.WouldUnseal:
		return "sealed: see sys/seal-status for the cause"
	case h.Sealed:
		return "sealed"
	case h.Standby:
		return "standby"
	}
	return "active"
}

// notified logs a failure to reach the service manager.
func (p *instance) notified(err error) {
	if err != nil {
		p.log.Warn("systemd does not get this server's state (NOTIFY_SOCKET)", "error", err)
	}
}

func (p *instance) writePID() error {
	if p.pid == "" {
		return nil
	}
	return os.WriteFile(p.pid, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
}

func (p *instance) removePID() error {
	if p.pid == "" {
		return nil
	}
	return os.Remove(p.pid)
}
