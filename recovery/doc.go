// Package recovery holds the shares of a key, the record of their holders, and the ceremonies that
// shares authorise.
//
// A [ShareSet] is one generation of shares of one key. The key is a seed: an HPKE key pair follows
// from it, and the server keeps the public half, so that anything can be encrypted to the quorum
// without the quorum. The server keeps no share and no seed, only verifiers: domain-separated
// hashes of them. So each share is checked when it is submitted, and a wrong share invalidates no
// other.
//
// A [Ceremony] is one operation that a quorum authorises, as a state that can be stored after every
// step. It makes new shares, which may have to be proven before they replace the old ones, or a
// token, encoded with a one-time password ([EncodeToken]) or encrypted. An [Unsealing] collects
// shares in memory until they combine to their key. A [BreakGlass] record is a root key that a
// quorum of recovery shares can decrypt, where its holders have enrolled for that.
//
// The package guarantees:
//   - shares are Vault's: threshold splitting over GF(2^8), the value's bytes followed by one byte
//     x;
//   - no branch and no memory address depends on a secret where shares are split, combined or
//     compared;
//   - a decoded record is within its bounds and encodes to the same bytes;
//   - no error contains a share, a key, a nonce or a one-time password;
//   - no I/O, no clock, no goroutine: the caller passes time and randomness, and stores the state.
//
// It does not guarantee:
//   - that a record is authentic: an attacker who can write a [ShareSet] can replace its public
//     key. Records belong behind the barrier. A record that is read while sealed must be compared
//     with the barrier's copy after unsealing;
//   - that hexadecimal and base64 are decoded in constant time: the sender knows the text;
//   - that the memory of a derived private key is overwritten: crypto/hpke cannot do it.
//
// The record of a ceremony for a token contains its one-time password in the clear, and is as
// secret as the token.
//
// Records start with a format version. New versions are added, and old ones stay readable.
package recovery
