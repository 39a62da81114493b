// Package pkcs11 is the seal on a PKCS#11 token: an HSM, a smart card, SoftHSM.
//
// The parameters and environment variables are those of Vault and OpenBao, so a stanza of theirs works
// as it is; see [New]. Package hsm does the work, and its guarantees hold here: deadlines, one log-in, a
// wrong PIN sent once, recovery without a restart.
//
// It guarantees that the additional data of Encrypt is bound to the ciphertext on every mechanism, and that every
// error is a *seals.Failure that names a remedy and holds no secret. Mechanisms that do not authenticate
// (RSA PKCS#1 v1.5, AES-CBC without HMAC) are refused.
//
// It does not read ciphertexts that Vault or OpenBao wrote.
package pkcs11
