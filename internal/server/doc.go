// Package server runs a Sealgate server: it builds every part from the configuration, opens the
// listeners, reloads on SIGHUP and stops on SIGINT and SIGTERM. It also holds the commands that
// need more than a client does: `server`, `doctor`, `softhsm init` and `operator migrate`.
//
// It guarantees that a server starts without touching a seal, that a failed start closes what it
// opened, and that a reload which fails leaves the part in use as it was. It is the one package
// that names the providers of seals, the secrets engines and the auth methods of this program.
package server
