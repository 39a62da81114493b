// Package v1 assembles the API below /v1/ from its areas.
//
// It guarantees that each listener of a server, and the listener for other nodes, answer by one
// table; a test pins the table, and another makes every request of it with every kind of token.
package v1

import (
	"net/http"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/authn"
	"github.com/sealgate/sealgate/internal/api/ceremonies"
	"github.com/sealgate/sealgate/internal/api/devices"
	"github.com/sealgate/sealgate/internal/api/mounts"
	"github.com/sealgate/sealgate/internal/api/openapi"
	"github.com/sealgate/sealgate/internal/api/operate"
	"github.com/sealgate/sealgate/internal/api/policies"
	"github.com/sealgate/sealgate/internal/api/raw"
	"github.com/sealgate/sealgate/internal/api/sys"
	"github.com/sealgate/sealgate/internal/api/tools"
	"github.com/sealgate/sealgate/internal/node"
)

// NewRecovery returns the API of a server in recovery mode: a token by a quorum of shares, and raw
// storage by that token. It has no other path, not even sys/health. c has no Node.
func NewRecovery(c api.Config, mode *node.RecoveryMode) http.Handler {
	c.Recovery = mode
	h := api.NewHandler(c, api.Table{Area: api.Area{Routes: raw.RecoveryRoutes}})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		if path == r.URL.Path || !h.Has(path) {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// table is the whole API of a server.
var table = api.Join([]api.Area{
	sys.Area, ceremonies.Area, operate.Area, mounts.Area, raw.Area, authn.Area, policies.Area, openapi.Area,
	tools.Area, devices.Area,
}, authn.AuthMounted, openapi.HelpRoute)

// New returns the API of a server.
func New(c api.Config) http.Handler { return api.NewHandler(c, table) }

// NewPeer returns what a node answers to the other nodes of its cluster.
func NewPeer(c api.Config) http.Handler { return api.NewPeer(c, table) }
