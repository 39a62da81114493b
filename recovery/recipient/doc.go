// Package recipient encrypts shares and tokens to public keys: OpenPGP keys (RFC 9580 and RFC 4880)
// and age recipients (age-encryption.org/v1, native X25519 and the hybrid MLKEM768-X25519).
//
// The package guarantees:
//   - a [Recipient] that [Parse] returned can be encrypted to: it parses, is one public key, is
//     neither expired nor revoked, may encrypt, is not weak, and a trial message was made for it;
//   - gpg and age read what it encrypts, in their binary formats; a PGP message is protected by a
//     modification detection code, or by AEAD if the key announces support for it;
//   - a private key is refused, and no error repeats the input;
//   - input is bounded before it is decoded; no I/O, no clock: the caller passes the time at which
//     a key must be valid.
//
// It does not guarantee that a key belongs to the person it names: compare fingerprints. It does
// not follow third-party revocations and queries no key server. Messages are encrypted, not signed.
// Randomness is crypto/rand's.
package recipient
