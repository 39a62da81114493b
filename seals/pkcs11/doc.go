// Package pkcs11 is the seal on a PKCS#11 token: an HSM, a smart card, SoftHSM.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New]. Package hsm does the work, and its guarantees hold here: deadlines, one
// login, a wrong PIN sent once, recovery without a restart.
//
// It guarantees that every mechanism binds Encrypt's additional data to the ciphertext, and that
// every error is a *seals.Failure that names a remedy and contains no secret. It refuses mechanisms
// that do not authenticate (RSA PKCS#1 v1.5, AES-CBC without HMAC).
//
// It does not read ciphertexts of Vault or OpenBao.
package pkcs11
