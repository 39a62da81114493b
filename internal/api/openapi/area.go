// Package openapi describes the API from the table of routes: the OpenAPI document, and help for a
// path.
//
// It guarantees that a route that is not in the table is not described, and that every route of the
// table is.
package openapi

import "github.com/sealgate/sealgate/internal/api"

// Area holds the routes of this package.
var Area = api.Area{
	Routes: specRoutes,
	Docs:   specDocs,
}
