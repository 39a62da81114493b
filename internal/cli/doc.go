// Package cli is the command-line client: `operator`, `status`, `read` and the rest. Flags, texts,
// tables and exit codes are those of Vault's and OpenBao's commands, so that scripts written for
// those keep working.
//
// It guarantees:
//   - exit code 0 for success, 1 for a local error, 2 for an error of the server or an empty result
//     (`status`: 0 unsealed, 2 sealed, 1 error);
//   - results on standard output and everything else on standard error;
//   - flags before, between or after the arguments;
//   - a secret typed at a prompt is not echoed, and no error contains one;
//   - a share that is typed, piped or read from a file is never an argument of a process (one that
//     the user gives as an argument is).
//
// `debug` removes values whose name is that of a secret, and text that looks like a secret. This is
// best effort: a secret that the server shows under another name stays in the bundle.
//
// Settings come from flags, then from SEALGATE_x, BAO_x and VAULT_x of the environment, in this
// order. The token comes from SEALGATE_TOKEN, BAO_TOKEN or VAULT_TOKEN, then from the file in
// SEALGATE_TOKEN_PATH, then from ~/.vault-token. External token helpers are not run.
//
// Deliberate differences from Vault: `operator rekey` without -target asks the server for its seal,
// and means the recovery shares if the seal is an auto-unseal seal (it says so); it accepts several
// shares at once, and can start and finish a rekey in one call. `token create -orphan` uses
// auth/token/create-orphan, which needs no sudo. Completion makes no request.
//
// If the connection breaks after a share was sent, the command sends the share once more. It
// acknowledges new shares to the server only after they were written to standard output, and synced
// if that is a file; otherwise it prints how to fetch them again.
package cli
