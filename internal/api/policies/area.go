// Package policies answers for ACL policies, password policies, and for what a token may do.
//
// Stays compatible: both paths of Vault's policies, sys/policy and sys/policies/acl, and OpenBao's
// additions (expiry, check-and-set).
package policies

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(policyRoutes, passwordRoutes),
	Docs:   policyDocs,
}
