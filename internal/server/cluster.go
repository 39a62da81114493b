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

// joinCluster opens the listener for the other nodes and gives what they are told of this one; nil for a store that one node has to itself.
func (p *process) joinCluster(cfg *config.Config, recovery bool) (*ha.Member, error) {
	if _, ok := p.store.(shared); !ok || recovery || cfg.Storage.Type == "inmem" {
		return nil, nil
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("this machine has no name to show to the other nodes: %w", err)
	}
	m := &ha.Member{Hostname: hostname, Version: version.Release, APIAddr: cfg.APIAddr, ClusterAddr: cfg.ClusterAddr}
	l := firstTCP(cfg)
	if l == nil {
		if m.APIAddr == "" {
			return nil, errors.New("a cluster needs a way to this node: give api_addr, or a listener \"tcp\"")
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
		p.log.Warn("api_addr is not set: standbys send clients to the address of the first listener", "api_addr", m.APIAddr)
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
		return nil, fmt.Errorf("%s: the listener for the other nodes (cluster_address): %w", l.Pos, err)
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

// nextPort is the address beside the listener's.
func nextPort(host, port string) (string, error) {
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", fmt.Errorf("the port %q is no number; give cluster_address", port)
	}
	if n != 0 { // any free port has no neighbour
		n++
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// servePeers makes the server for the other nodes, where there is a listener for them.
func (p *process) servePeers(c api.Config) {
	if p.peers != nil {
		p.cluster = cluster.NewServer(p.peers, p.node.Cluster().ClusterIdentity, v1.NewPeer(c), p.hub.Logger("cluster"))
	}
}

// retireWithin bounds the wait for another node to lead, when this one stops.
const retireWithin = 4 * time.Second

// closeWithin is what the other nodes get to notice that this one stops.
const closeWithin = time.Second

// retire has another node lead before this one stops answering.
func (p *process) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireWithin)
	defer cancel()
	p.node.Cluster().Retire(ctx)
}

// closeCluster ends the server for the other nodes.
func (p *process) closeCluster(ctx context.Context) error {
	if p.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	return p.cluster.Shutdown(ctx)
}

// closePeers ends a listener that nobody serves yet.
func (p *process) closePeers() error {
	if p.peers == nil {
		return nil
	}
	return p.peers.Close()
}
