// Package recipient is to whom shares and tokens are encrypted: OpenPGP keys (RFC 9580, and RFC 4880 of which it is made) and
// age recipients (age-encryption.org/v1, native X25519 and the hybrid MLKEM768-X25519).
//
// The package guarantees:
//   - a [Recipient] that [Parse] returned can be encrypted to, and was: it parses, is one public key, is neither expired
//     nor revoked, may encrypt, is not weak, and a trial message was made for it;
//   - what it encrypts is readable by gpg and by age, in their binary formats; a PGP message is protected by a modification detection
//     code, or by AEAD where the key says that its owner's software knows that;
//   - a private key is refused, and no error repeats what was parsed;
//   - input is bounded before it is decoded; no I/O, no clock: the time at which a key has to be good is passed in.
//
// It does not guarantee that a key belongs to whom it names: compare fingerprints. It does not follow third-party revocations, and asks no
// key server. Messages are encrypted, not signed. Randomness is crypto/rand's.
package recipient
