// Package cli is the command line of a client: `operator`, `status`, `read` and
// the rest, with the flags, texts, tables and exit codes that Vault's and OpenBao's
// commands have, so that scripts written for those go on working.
//
// It guarantees: exit code 0 for success, 1 for a mistake on this side of the wire, 2 for
// an answer of the server or nothing found (`status`: 0 unsealed, 2 sealed, 1 error);
// results on standard output and all else on standard error, so that output can be piped;
// flags before, between or behind the arguments; that a secret typed at a prompt is not echoed, and that no
// error repeats one.
//
// `debug` writes nothing that stands behind the name of a secret or looks like one. That is a net, not a proof: what a server
// tells under a name that is not a secret's stays in the bundle.
//
// Settings come from flags, then from SEALGATE_x, BAO_x and VAULT_x of the environment, in this order; a
// token from SEALGATE_TOKEN and so on, then from the file that SEALGATE_TOKEN_PATH names, then from ~/.vault-token.
// External token helpers are not run.
//
// Where this program differs from the others on purpose: `operator rekey` without -target
// asks the server which seal it has, and means the recovery shares under one that unseals itself (it says so); it can take
// several shares at once, and start and finish a rekey in one call. `token create -orphan` asks for auth/token/create-orphan, which needs no
// sudo. Completion asks no server.
//
// Where a connection breaks behind a share, the share is sent once more by itself. The server is told that new shares arrived only when they were
// written to standard output, and to the disk where that is a file; otherwise the command says how to fetch them.
//
// A share that is typed, piped or read from a file is never an argument of any process. This does not hold for
// one that the user gives as an argument.
package cli
