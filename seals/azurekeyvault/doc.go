// Package azurekeyvault is the seal on an RSA key in Azure Key Vault or a Managed HSM.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New].
//
// The package guarantees:
//   - Every call ends by its deadline.
//   - The additional data of Encrypt, the key's id and its version are bound to the ciphertext
//     here, by a data key, because the service binds none.
//   - A blob is unwrapped by the version of the key that wrapped it.
//   - A damaged answer is detected.
//   - Access tokens are requested only for the configured vault's service.
//   - Tokens are renewed, and a secret or certificate in a file is read again when the file
//     changes.
//   - Every error is a *seals.Failure with a remedy and without secrets.
//
// It does not authenticate the creator of a blob: the key is an RSA key, and anybody with its
// public half can wrap a data key. It does not read ciphertexts of Vault or OpenBao, and does not
// create keys. The blob format stays compatible.
package azurekeyvault
