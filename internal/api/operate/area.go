// Package operate answers operators: metrics, logs, profiles, requests in flight, versions, audit
// devices, CORS and quotas.
//
// It guarantees that no answer contains a secret: the configuration is sanitized, profiles show no
// memory, and paths are shown without their queries.
//
// Stays compatible: paths and members of Vault's API; the names of metrics (contract 10).
package operate

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(auditRoutes, operateRoutes, pprofRoutes, counterRoutes),
	Docs:   api.Merged(operateDocs, counterDocs),
}
