package server

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	v1 "github.com/sealgate/sealgate/internal/api/v1"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/listener"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/ui"
	"github.com/sealgate/sealgate/internal/version"
)

// listeners are all listeners of the API.
type listeners []*listener.Server

// listen opens all listeners of the configuration, or none.
func (p *instance) listen(cfg *config.Config) (_ listeners, err error) {
	log := p.hub.Logger("api")
	var all listeners
	defer func() {
		if err != nil {
			err = errors.Join(err, all.shutdown(context.Background()))
		}
	}()
	hostname := ""
	if cfg.ResponseHeaderHost {
		if hostname, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	refusals := limits.NewRefusals(time.Now, log)
	for _, l := range cfg.Listeners {
		if l.MaxRequestDuration == 0 {
			l.MaxRequestDuration = cfg.DefaultMaxRequestDuration
		}
		c := api.Config{
			Node: p.node, Version: version.Release, APIVersion: cfg.APIVersion, Log: log,
			Refusals: refusals, Trail: p.trail, Shared: p.shared,
			Front: l.Front, Hostname: hostname,
			DisableUnauthRekey: l.DisableUnauthRekey, DisableUnauthRoot: l.DisableUnauthRoot, RawStorage: cfg.RawStorageEndpoint,
			ForcedRestore: cfg.ForcedRestore,
			Lockout:       lockouts(cfg.Lockout), NoForwarding: cfg.DisableClustering,
			Gateways: p.gatewayStates(cfg),
			Limits: api.Limits{
				Body: l.MaxRequestSize, JSONMemory: l.MaxRequestJSONMemory, JSONStrings: l.MaxRequestJSONStrings,
				Duration: l.MaxRequestDuration,
			},
		}
		var h http.Handler
		if p.mode != nil {
			h = v1.NewRecovery(c, p.mode)
		} else {
			h = v1.New(c)
			if cfg.UI {
				h = ui.New(ui.Config{API: h, Sessions: p.browsers, Log: p.hub.Logger("ui"), Version: version.Release,
					Now: time.Now})
			}
		}
		if h, err = p.beside(cfg, h); err != nil {
			return all, err
		}
		s, err := listener.Listen(context.Background(), l, h, log)
		if err != nil {
			return all, err
		}
		all = append(all, s)
		if p.cluster == nil {
			p.servePeers(c)
		}
	}
	return all, nil
}

// serve serves on all listeners until shutdown, or until one fails.
func (l listeners) serve() error {
	failed := make(chan error)
	for _, s := range l {
		go func() { failed <- s.Serve() }()
	}
	var err error
	for range l {
		if e := <-failed; e != nil && err == nil {
			err = errors.Join(e, l.shutdown(context.Background()))
		}
	}
	return err
}

// shutdown accepts no new requests and waits for those in flight until ctx ends.
func (l listeners) shutdown(ctx context.Context) error {
	errs := make(chan error)
	for _, s := range l {
		go func() { errs <- s.Shutdown(ctx) }()
	}
	var all []error
	for range l {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// lockouts converts the settings to the API's form.
func lockouts(all map[string]config.Lockout) map[string]*mount.Lockout {
	out := map[string]*mount.Lockout{}
	for name, l := range all {
		out[name] = &mount.Lockout{
			Threshold: l.Threshold, Duration: int64(l.Duration / time.Second),
			CounterReset: int64(l.CounterReset / time.Second), Disable: l.Disable,
		}
	}
	return out
}
