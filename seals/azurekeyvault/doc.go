// Package azurekeyvault is the seal on an RSA key in Azure Key Vault or a Managed HSM.
//
// The parameters and environment variables are those of Vault and OpenBao, so a stanza of theirs works as it is; see [New].
//
// It guarantees that every call ends by its deadline; that the additional data of Encrypt is bound to the ciphertext together with the
// key's id and version - here, by a data key, since the service binds none; that a blob is unwrapped by the version of the key that
// wrapped it; that an answer which was damaged on its way is noticed; that access tokens are asked for the configured vault's service and no other; and
// that every error is a *seals.Failure that names a remedy and holds no secret. Tokens are renewed while the program runs, and a
// secret or certificate in a file is read again when the file changes.
//
// It does not guarantee who made a blob: the key is an RSA key, and whoever has its public half can wrap a data key of their own.
// It does not read ciphertexts that Vault or OpenBao wrote, and makes no keys.
package azurekeyvault
