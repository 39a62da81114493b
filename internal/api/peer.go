package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/node"
)

// maxEcho bounds a node's announcement.
const maxEcho = 64 << 10

// echo records a standby's announcement.
func echo(n *node.Node, w http.ResponseWriter, r *http.Request) {
	var m ha.Member
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxEcho)).Decode(&m); err != nil {
		http.Error(w, "not a node's announcement", http.StatusBadRequest)
		return
	}
	if err := n.Cluster().Echo(m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// NewPeer returns what a node answers to the other nodes, on its listener for them: the API, for
// requests that they forward, and the endpoint where standbys announce themselves. Only a leader
// answers, and it forwards nothing, so no request goes in circles.
func NewPeer(c Config, t Table) http.Handler {
	// The listener that the client used has applied its own settings.
	c.Peer, c.Front, c.Hostname, c.DisableUnauthRekey, c.DisableUnauthRoot = true, config.Front{}, "", false, false
	serve := NewHandler(c, t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+ha.PathEcho, func(w http.ResponseWriter, r *http.Request) { echo(c.Node, w, r) })
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		origin, err := cluster.ReadOrigin(r.Header)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx := r.Context()
		if origin.Left > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, origin.Left)
			defer cancel()
		}
		r = r.WithContext(ctx)
		r.RemoteAddr, r.TLS = origin.Remote, origin.TLS
		serve.ServeHTTP(w, r)
	})
	return mux
}
