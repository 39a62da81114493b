// Package raw answers for the storage behind the barrier, entry by entry: sys/raw of a server with
// raw_storage_endpoint, and the whole API of a server in recovery mode.
//
// It guarantees that an entry is shown and stored as it is: nothing is guessed, converted or
// compressed. It does not guarantee that the server works with what is written.
//
// Stays compatible: Vault's sys/raw with the encodings "" and "base64", without compression.
package raw

import "github.com/sealgate/sealgate/internal/api"

// Area holds the routes of this package.
var Area = api.Area{
	Routes: rawRoutes,
	Docs:   rawDocs,
}
