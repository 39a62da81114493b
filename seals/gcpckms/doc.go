// Package gcpckms is the seal on a key of Google Cloud KMS.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New]. Every Go program that takes a go-kms-wrapping/v2 Wrapper can use a
// [Wrapper].
//
// The package guarantees:
//   - Checksums (CRC32C) of plaintext, additional data and ciphertext are sent and checked. An
//     answer with a wrong or missing checksum, or without the confirmation of the request's
//     checksums, is refused.
//   - The additional data of Encrypt is bound to the ciphertext. Key, key version and protection
//     level are recorded in the blob, and a blob of another key is refused without a request.
//   - Every call ends by its context's deadline and by the timeout of the stanza, with at most four
//     attempts. The library's own retries are disabled.
//   - Credentials are renewed while the program runs, and read again when they are refused.
//   - Every error is a *seals.Failure with a class and a remedy, and without secrets. For a version
//     that is not enabled it contains the state and, where the credentials may read it, the date of
//     destruction.
//   - After Close, nothing of it runs.
//
// Encrypt and Decrypt need only roles/cloudkms.cryptoKeyEncrypterDecrypter. Google answers a
// missing and a forbidden key alike, so both are "denied"; with roles/cloudkms.viewer, Describe
// distinguishes them.
//
// The package does not create keys or versions, and does not read ciphertexts of Vault or OpenBao.
// The blob format stays compatible.
package gcpckms
