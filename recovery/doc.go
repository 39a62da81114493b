// Package recovery is the custody of keys by people: shares, the record of who
// holds them, and the ceremonies that shares authorise.
//
// A [ShareSet] is one generation of shares of one key. The key itself is a seed: from it follows an HPKE
// key pair, and the public half stays with the server, so that anything can be encrypted to the quorum
// without the quorum. The server keeps no share and no seed, only verifiers: domain-separated hashes
// of them. So each share is judged at once, when it is given, and a wrong one spoils nothing.
//
// A [Ceremony] is one operation that a quorum authorises, as a state that can be stored after every step: new shares, which
// may have to be proven before they replace the old ones, or a token, encoded with a one-time password ([EncodeToken]) or
// encrypted. An [Unsealing] collects shares in memory until their key can be put together.
//
// The package guarantees:
//   - shares are Vault's: threshold splitting over GF(2^8), the value's bytes and one byte x at the end;
//   - no branch and no memory address depends on a secret where shares are split, combined, and compared;
//   - a record that it decoded is within its bounds, and encodes to the same bytes again;
//   - no error contains a share, a key, a nonce, or a one-time password;
//   - no I/O, no clock, no goroutine: time and randomness are passed in, and storing is the caller's.
//
// It does not guarantee that a record is authentic: whoever can write a Custody can name another public key. Records belong in
// the barrier; what must be readable while sealed has to be checked against the barrier once it is open. Nor are hexadecimal
// and base64 decoded in constant time: the text of a share is in the hands of the one who sent it. Nor is the memory of
// a derived private key overwritten: crypto/hpke has no way to do it.
//
// The record of a ceremony for a token holds its one-time password in the clear: it is no less secret than the token.
//
// Records start with a format version. Later versions are added, and the old ones stay readable.
package recovery
