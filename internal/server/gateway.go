package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/gateway"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
	"github.com/sealgate/sealgate/internal/gateway/xks"
	"github.com/sealgate/sealgate/internal/listener"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
)

// gateways are the protocols of the configuration, each with a listener of its own.
type gateways []gatewayServer

// gatewayServer serves one listener until its shutdown.
type gatewayServer interface {
	Serve() error
	Shutdown(ctx context.Context) error
}

// openGateways opens all gateways of the configuration, or none.
func (p *instance) openGateways(cfg *config.Config) (all gateways, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, all.shutdown(context.Background()))
		}
	}()
	for _, g := range cfg.Gateways {
		if p.node == nil {
			p.log.Warn("recovery mode serves no gateway", "gateway", g.Name)
			continue
		}
		var s gatewayServer
		switch g.Type {
		case "kmsv2":
			s, err = p.openKMS(g)
		case "xks":
			if g.Listener == nil { // the listeners of the API answer it: see beside
				continue
			}
			s, err = p.openXKS(g)
		default:
			err = fmt.Errorf("this program has no gateway %q", g.Type)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", g.Pos, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func (p *instance) gatewayCore() *gateway.Core {
	return &gateway.Core{Roles: roles{p.node}, Trail: p.trail, Log: p.hub.Logger("gateway")}
}

// openKMS opens the socket of a Kubernetes control plane.
func (p *instance) openKMS(g config.Gateway) (gatewayServer, error) {
	key := &kmsv2.Own{
		Core: p.gatewayCore(), Key: gateway.Key{Mount: g.Mount, Name: g.Key},
		Caller:  gateway.Caller{Name: "kmsv2:" + g.Name, Policies: g.Policies},
		Cluster: func() string { return p.node.Health().ClusterID },
	}
	service := kmsv2.New(kmsv2.Options{
		Key: key, Name: g.Name, Budget: g.Budget, Deadline: g.Deadline, Foreign: g.Foreign,
		Log: p.hub.Logger("gateway"), Metrics: p.shared.Metrics,
	})
	s, err := kmsv2.Listen(context.Background(), g.Socket, g.PeerUIDs, service)
	if err != nil {
		return nil, err
	}
	if p.kms == nil {
		p.kms = map[string]*kmsv2.Service{}
	}
	p.kms[g.Name] = service
	p.log.Info("a Kubernetes KMS v2 socket is open", "gateway", g.Name, "socket", g.Socket)
	return s, nil
}

// openXKS opens the listener of a proxy for AWS KMS.
func (p *instance) openXKS(g config.Gateway) (gatewayServer, error) {
	h, err := p.newXKS(g)
	if err != nil {
		return nil, err
	}
	s, err := listener.Listen(context.Background(), *g.Listener, h, p.hub.Logger("gateway"))
	if err != nil {
		return nil, err
	}
	p.log.Info("an XKS proxy for AWS KMS is open", "gateway", g.Name, "address", s.Addr().String())
	return s, nil
}

func (p *instance) newXKS(g config.Gateway) (http.Handler, error) {
	own := &xks.Own{Core: p.gatewayCore(), Mount: g.Mount, Log: p.hub.Logger("gateway"), Metrics: p.shared.Metrics,
		Now: time.Now}
	return xks.New(own.Options(g.Deadline))
}

// beside lets the listeners of the API answer the XKS proxy that has no listener of its own.
func (p *instance) beside(cfg *config.Config, api http.Handler) (http.Handler, error) {
	for _, g := range cfg.Gateways {
		if g.Type != "xks" || g.Listener != nil || p.node == nil {
			continue
		}
		proxy, err := p.newXKS(g)
		if err != nil {
			return nil, err
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if xks.Serves(r.URL.Path) {
				proxy.ServeHTTP(w, r)
				return
			}
			api.ServeHTTP(w, r)
		}), nil
	}
	return api, nil
}

// gatewayStates lists the gateways for sys/gateways. The sockets are asked together: each answers
// within its deadline.
func (p *instance) gatewayStates(cfg *config.Config) func(context.Context) []api.Gateway {
	return func(ctx context.Context) []api.Gateway {
		all := make([]api.Gateway, len(cfg.Gateways))
		var wg sync.WaitGroup
		for i, g := range cfg.Gateways {
			all[i] = api.Gateway{Name: g.Name, Type: g.Type, Address: g.Socket, Mount: g.Mount, Key: g.Key}
			if g.Listener != nil {
				all[i].Address = g.Listener.Address
			}
			if s := p.kms[g.Name]; s != nil && g.Type == "kmsv2" {
				wg.Go(func() { askSocket(ctx, s, &all[i]) })
			}
		}
		wg.Wait()
		return all
	}
}

func askSocket(ctx context.Context, s *kmsv2.Service, into *api.Gateway) {
	st := s.State(ctx)
	into.Healthz, into.Error, into.Version = st.Healthz, st.Error, st.Pin.Version
	into.KeyIDHash = kmsv2.HashOf(st.Pin.KeyID)
	if !st.Proven.IsZero() {
		into.Proven = &st.Proven
	}
}

// gatewayTLS reads the certificates of gateways again. Other paths need a restart.
func (r *reloading) gatewayTLS() {
	for _, g := range r.gates {
		if s, ok := g.(*listener.Server); ok {
			r.done("certificate of the gateway at "+s.Addr().String(), s.Reload())
		}
	}
}

// serve starts a goroutine for each gateway, which ends with its shutdown.
func (all gateways) serve(wg *sync.WaitGroup, log *slog.Logger) {
	for _, s := range all {
		wg.Go(func() {
			if err := s.Serve(); err != nil {
				log.Error("a gateway failed; its clients cannot reach this server", "error", err)
			}
		})
	}
}

// shutdown accepts no new calls and waits for those in flight until ctx ends.
func (all gateways) shutdown(ctx context.Context) error {
	errs := make(chan error)
	for _, s := range all {
		go func() { errs <- s.Shutdown(ctx) }()
	}
	var joined []error
	for range all {
		joined = append(joined, <-errs)
	}
	return errors.Join(joined...)
}

// roles lets a gateway use the node's role. It implements [gateway.Roles].
type roles struct{ node *node.Node }

// Do implements [gateway.Roles]. What a role answered that ended meanwhile is dropped.
func (r roles) Do(ctx context.Context, f func(ctx context.Context, v gateway.View) error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		changed := r.node.Cluster().Changed()
		again, err := r.try(ctx, f)
		if !again {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return fault.Wrap(errors.Join(err, ctx.Err()), fault.Unavailable,
				"this node cannot prove in time that what it knows is current; see sys/seal-status")
		}
	}
}

// try uses the role that the node has now.
func (r roles) try(ctx context.Context, f func(ctx context.Context, v gateway.View) error) (again bool, err error) {
	role, err := r.node.Role()
	switch {
	case fault.Is(err, fault.Sealed):
		return false, err
	case err != nil: // between two roles
		return true, err
	case !role.Enter():
		return true, nil
	}
	defer role.Leave()
	if err := role.Current(ctx); err != nil { // of a standby
		return true, err
	}
	err = f(ctx, gateway.View{Tokens: role.Tokens(), Mounts: role.Mounts()})
	if held := role.Held(); held != nil {
		return true, held
	}
	return roleOver(err), err
}

// roleOver reports whether an error follows from the end of a role.
func roleOver(err error) bool {
	return errors.Is(err, node.ErrNotHeld) || errors.Is(err, storage.ErrFenced) || errors.Is(err, barrier.ErrSealed) ||
		errors.Is(err, audit.ErrSealed) || fault.Is(err, fault.Sealed)
}
