package api

import (
	"net/http"
	"slices"
)

// table is the whole API.
var table1 = Table{
	Routes: slices.Concat(
		lifecycleRoutes, rekeyRoutes, keyringRoutes, rotateRoutes, rootRoutes, custodianRoutes, auditRoutes, mountRoutes, rawRoutes,
		operateRoutes, pprofRoutes, specRoutes, tokenRoutes, policyRoutes, passwordRoutes, authRoutes, lockedRoutes,
		wrappingRoutes, leaseRoutes, snapshotRoutes,
	),
	Docs: merged(
		lifecycleDocs, ceremonyDocs, custodianDocs(), operateDocs, mountDocs, rawDocs, specDocs, authDocs, lockedDocs,
		wrappingDocs, leaseDocs, tokenDocs, policyDocs,
	),
	Login: authMounted,
	Help:  helpRoute,
}

// New returns the API of a server.
func New(c Config) http.Handler { return newHandler(c, table1) }

// NewPeer returns what a node answers to the other nodes of its cluster.
func NewPeer(c Config) http.Handler { return newPeer(c, table1) }
