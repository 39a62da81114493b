// Package transit is the seal on a key of the transit engine of another Vault, OpenBao or Sealgate.
//
// The parameters and environment variables are those of Vault and OpenBao, so a stanza of theirs works as it is; see [New].
//
// It guarantees that every call ends by its deadline; that the additional data of Encrypt is bound to the ciphertext, by the server
// where it can (associated_data) and in any case here, with the key's name and version; that an answer which was
// damaged on its way is noticed; that no key is made on the server by an encryption, as a server would do by itself
// where the key is gone and the token may; and that every error is a *seals.Failure that names a remedy and holds no secret.
// The server sees neither the root key nor a share of it, only the data key that encrypts it.
//
// The token is renewed while the program runs. One that stands in a file is read again when the file changes, and
// when the server refuses it.
//
// It does not read ciphertexts that Vault or OpenBao wrote, and needs a key that is not derived.
package transit
