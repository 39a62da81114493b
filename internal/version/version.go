// Package version holds the version of this program, as the server, the client and the records of a
// build report it.
package version

// Release is the version that clients see. Below 1.10 they expect root tokens of the form "s." and
// 24 characters, and one-time passwords of 26, which is what this server makes.
const Release = "0.1.0"

// Revision is the revision of the source; the linker sets it (see the Makefile).
var Revision = ""
