// Package authn answers for logins and tokens: paths of auth methods, auth/token, leases (which are
// tokens that expire), wrapping tokens, and names that are locked out.
//
// It guarantees that a new token is shown in one answer alone, to the client that asked for it, and
// that user_lockout limits wrong credentials.
//
// Stays compatible: paths, members and texts of Vault's API.
package authn

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(tokenRoutes, lockedRoutes, wrappingRoutes, leaseRoutes),
	Docs:   api.Merged(tokenDocs, lockedDocs, wrappingDocs, leaseDocs),
}
