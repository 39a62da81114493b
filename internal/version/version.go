// Package version holds the version of this program, as the server, the client and the records of a
// build report it.
package version

// Release is the version of this program.
const Release = "0.1.0"

// APILevel is the version of Vault whose API this server implements, as far as it has the engines
// and methods. Clients switch features on by it; api_version of the configuration replaces it.
//
// It stays below 1.16, from which Terraform's provider expects custom messages and headers of the
// UI, and identity tokens.
const APILevel = "1.15.0"

// Shown returns the version that clients read in sys/health and sys/seal-status: the API level, and
// the program's own version as build metadata, which no client compares.
func Shown(level, release string) string { return level + "+sealgate." + release }

// Revision is the revision of the source; the linker sets it (see the Makefile).
var Revision = ""
