// Package transit is the seal on a key of the transit engine of another Vault, OpenBao or Sealgate.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New].
//
// The package guarantees:
//   - Every call ends by its deadline.
//   - The additional data of Encrypt, the key's name and its version are bound to the ciphertext,
//     here and, where it supports associated_data, by the server.
//   - A damaged answer is detected.
//   - An encryption never creates a missing key, although servers do that where the token may.
//   - Every error is a *seals.Failure with a remedy and without secrets.
//   - The server sees only a data key, neither the root key nor a share of it.
//
// The token is renewed while the program runs. A token in a file is read again when the file
// changes and when the server refuses the token.
//
// The package does not read ciphertexts of Vault's or OpenBao's own seals, and does not work with
// derived keys. The blob format stays compatible.
package transit
