// Package mounts answers for the tables of secrets engines and of auth methods: enable, list, tune,
// move, disable.
//
// It guarantees that a change is stored before it is answered, and that disabling or moving an auth
// method ends the tokens that it issued.
//
// Stays compatible: paths and members of Vault's API, among them those that only older clients use.
package mounts

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(mountRoutes, authRoutes, catalogRoutes),
	Docs:   api.Merged(mountDocs, authDocs, catalogDocs),
}
