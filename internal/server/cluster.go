package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	v1 "github.com/sealgate/sealgate/internal/api/v1"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/version"
)

// joinCluster opens the cluster listener and returns this node's entry in the member list; nil if
// the store is not shared.
func (p *instance) joinCluster(cfg *config.Config, recovery bool) (*ha.Member, error) {
	if _, ok := p.store.(shared); !ok || recovery || cfg.Storage.Type == "inmem" {
		return nil, nil
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading this machine's hostname for the member list: %w", err)
	}
	m := &ha.Member{Hostname: hostname, Version: version.Release, APIAddr: cfg.APIAddr, ClusterAddr: cfg.ClusterAddr}
	l := firstTCP(cfg)
	if l == nil {
		if m.APIAddr == "" {
			return nil, errors.New("a cluster node needs an address: set api_addr, or add a listener \"tcp\"")
		}
		return m, nil
	}
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return nil, err
	}
	shown := host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		shown = hostname
	}
	if m.APIAddr == "" {
		scheme := "https"
		if l.TLSDisable {
			scheme = "http"
		}
		m.APIAddr = scheme + "://" + net.JoinHostPort(shown, port)
		p.log.Warn("api_addr is not set: standbys redirect clients to the address of the first listener", "api_addr",
			m.APIAddr)
	}
	if cfg.DisableClustering {
		m.ClusterAddr = ""
		return m, nil
	}
	listen := l.ClusterAddress
	if listen == "" {
		if listen, err = nextPort(host, port); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Pos, err)
		}
	}
	var lc net.ListenConfig
	if p.peers, err = lc.Listen(context.Background(), "tcp", listen); err != nil {
		return nil, fmt.Errorf("%s: the cluster listener (cluster_address): %w", l.Pos, err)
	}
	_, clusterPort, err := net.SplitHostPort(p.peers.Addr().String())
	if err != nil {
		return nil, err
	}
	m.ClusterAddr = cmp.Or(m.ClusterAddr, "https://"+net.JoinHostPort(shown, clusterPort))
	return m, nil
}

func firstTCP(cfg *config.Config) *config.Listener {
	for i := range cfg.Listeners {
		if cfg.Listeners[i].Type != "unix" {
			return &cfg.Listeners[i]
		}
	}
	return nil
}

// nextPort is the address with the port after the listener's.
func nextPort(host, port string) (string, error) {
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", fmt.Errorf("the port %q is not a number; set cluster_address", port)
	}
	if n != 0 { // 0 means any free port
		n++
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// servePeers makes the cluster server, if there is a cluster listener.
func (p *instance) servePeers(c api.Config) {
	if p.peers != nil {
		p.cluster = cluster.NewServer(p.peers, p.node.Cluster().ClusterIdentity, v1.NewPeer(c), p.hub.Logger("cluster"))
	}
}

// retireWithin bounds the wait for another leader when this node stops.
const retireWithin = 4 * time.Second

// closeWithin bounds the shutdown of the cluster server.
const closeWithin = time.Second

// retire lets another node become the leader before this one stops serving.
func (p *instance) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireWithin)
	defer cancel()
	p.node.Cluster().Retire(ctx)
}

// closeCluster stops the cluster server.
func (p *instance) closeCluster(ctx context.Context) error {
	if p.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	return p.cluster.Shutdown(ctx)
}

// closePeers closes a cluster listener that is not served yet.
func (p *instance) closePeers() error {
	if p.peers == nil {
		return nil
	}
	return p.peers.Close()
}
