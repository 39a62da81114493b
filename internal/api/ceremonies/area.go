// Package ceremonies answers what custodians do with shares: rekey, verification, generate-root,
// backups, proofs and transcripts, by Vault's paths and by OpenBao's.
//
// Both sets of paths drive the same state machine,
// [github.com/sealgate/sealgate/internal/ceremony]: what is started by one is continued by the
// other. On Vault's paths a share needs only the nonce; on OpenBao's every step needs a token. On
// both, starting and cancelling a rekey needs a token, so no client without one changes another's
// work.
//
// It guarantees that no error shows a nonce or a share, and that shares are destroyed before a
// handler returns.
//
// Stays compatible: paths, members and texts of both APIs (contract 2).
package ceremonies

import (
	"slices"

	"github.com/sealgate/sealgate/internal/api"
)

// Area holds the routes of this package.
var Area = api.Area{
	Routes: slices.Concat(rekeyRoutes, rotateRoutes, rootRoutes, authorizeRoutes, breakGlassRoutes,
		custodianRoutes, signerRoutes),
	Docs: api.Merged(ceremonyDocs, custodianDocs(), authorizeDocs(), enrolmentDocs(), signerDocs),
}
