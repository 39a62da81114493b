// Package sys answers for the node itself: initialising, unsealing and sealing it, its health and
// leadership, the barrier's keys, and snapshots.
//
// It guarantees that what needs no token is answered without checking one, and that sys/health
// reads memory alone, because load balancers ask every second.
//
// Stays compatible: paths, members and statuses of Vault's API (contract 1 and 9).
package sys

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(lifecycleRoutes, breakGlassRoutes, keyringRoutes, rewrapRoutes, sealRoutes, snapshotRoutes,
		snapshotProofRoutes, compactRoutes, gatewayRoutes),
	Docs: api.Merged(lifecycleDocs, breakGlassDocs, rewrapDocs, sealDocs, snapshotProofDocs, compactDocs, gatewayDocs),
}
