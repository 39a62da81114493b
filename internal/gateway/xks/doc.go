// Package xks is the proxy for AWS KMS external key stores: the four operations of the XKS proxy
// API v1 (specification 1.0.3) over keys that stay in the HSM or in the barrier.
//
// A request passes these steps in this order:
//
//	route -> store -> body limit -> SigV4 -> JSON -> store enabled -> key -> authorisation
//	      -> sizes -> encodings -> audit (request) -> key operation -> audit (answer) -> response
//
// It guarantees that no answer leaves before its audit entry was recorded; that a caller cannot
// learn from an error why its signature was refused; that ciphertext metadata (key version and
// fingerprint) and the caller's additional authenticated data are authenticated with every
// ciphertext; that the integrity value is computed over exactly what is sent, and that this
// ciphertext was decrypted and compared before it is sent; and that every request ends by the
// deadline, which [Options.Deadline] sets below AWS's own 250 ms.
//
// It does not guarantee that AWS accepts the server's certificate: that needs a public CA and port
// 443, which are the deployment's concern.
//
// [Own] joins the protocol with the server: stores and external keys are those of a mount
// ([Directory]), the policies of a store decide as they do for transit, and a standby answers by
// its own memory once it has proven that it is current. Only the record of a key's first use needs
// the active node.
//
// Stays compatible: the format of ciphertext metadata (see [Metadata]). AWS stores it with every
// ciphertext.
package xks
