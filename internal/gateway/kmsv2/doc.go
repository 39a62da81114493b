// Package kmsv2 serves the Kubernetes KMS v2 protocol on a unix socket: the API server of a
// Kubernetes control plane encrypts the seeds of its data keys by it.
//
// The same [Service] is in the server (gateway "kmsv2") and in the sidecar (kms-plugin), over
// another [Key].
//
//	                   Status               Encrypt                 Decrypt
//	API server ──────▶ pin a version   ───▶ by the pinned one  ───▶ by the one that made it
//	                   prove it
//
// It guarantees that Encrypt uses the version whose key_id the last Status returned; that Status
// returns no key_id of a version that did not encrypt and decrypt since the last proof was due;
// that a key_id names one key of one cluster and is never used for another; that a ciphertext opens
// only under the key_id that it was made with; that no answer breaks a limit of the API server; and
// that every call ends by its deadline.
//
// What Status returns decides whether the API server continues to write:
//
//	the key works                                  ok
//	the key is slow, or unavailable within budget  healthz says so, writes continue
//	the key is unavailable beyond its budget       gRPC error: writes end within 3 minutes
//	the key is disabled, deleted or not allowed    gRPC error: writes end within 3 minutes
//
// It does not guarantee that a key version can be removed: the census of versions in use is the
// key's (see package keys), and objects that are not rewritten keep needing theirs.
//
// Stays compatible: the recipe of key_id ([KeyID]), the additional data ([aadOf]) and the form of
// ciphertexts ("vault:v" + version + ":" + base64, which is transit's). The API server stores
// key_id and ciphertext with every object.
package kmsv2
