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
				p.log.Error("the cluster listener failed; other nodes cannot reach this one", "error", err)
			}
		})
	}
	if p.labels != nil {
		wg.Go(func() { p.labels.Run(ctx) }) // a Service stops selecting the pod before requests are refused
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
			p.log.Info("stopping: waiting for requests in flight", "within", stopWithin.String())
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
