// Package authn answers for logins and tokens: auth methods' paths, auth/token, leases (which are tokens that expire),
// wrapping tokens, and names that are locked out.
//
// It guarantees that a token is told to its bearer alone, in the one answer that creates it, and that guessing is
// stopped as user_lockout says.
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
