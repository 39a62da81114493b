// Package gcpckms is the seal on a key of Google Cloud KMS.
//
// The parameters and environment variables are those of Vault and OpenBao, so a stanza of theirs works as it is; see [New]. A
// [Wrapper] is a wrapping.Wrapper of go-kms-wrapping, for any program.
//
// It guarantees that
//   - checksums (CRC32C) of plaintext, additional data and ciphertext go both ways; an answer whose checksum is wrong or missing, and one that
//     does not confirm the request's, is refused;
//   - the additional data of Encrypt is bound to the ciphertext; key, key version and protection level are recorded in the blob, and a blob of
//     another key is refused before anything is sent;
//   - every call ends by its context's deadline and by the timeout of the stanza, retries included: there are at most four tries, and the
//     library's own are switched off;
//   - credentials are refreshed while the program runs, and read again when they are refused, so that a file that was replaced is found;
//   - every error is a *seals.Failure with a class and a remedy, and holds no secret; for a version that is not enabled it tells its state, and
//     when it will be destroyed, where the credentials may ask;
//   - after Close nothing of it runs.
//
// Encrypt and Decrypt need roles/cloudkms.cryptoKeyEncrypterDecrypter and no more. Google does not tell a key that is missing from one that is
// forbidden, so both are "denied" to who may not look at it; roles/cloudkms.viewer lets Describe say more.
//
// It does not make keys or versions, and does not read ciphertexts that Vault or OpenBao wrote.
package gcpckms
