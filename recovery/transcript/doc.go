// Package transcript is the signed, chained record of ceremonies: who started one, with what parameters, whose shares were given when,
// and how it ended. It is for those who were not in the room.
//
// Each record has a number, names the hash of the record before it, and is signed with Ed25519 (RFC 8032). What is signed
// is a hash over a list of hashes, one of each field, and the list is kept beside the record: so an altered field can be named.
// [VerifyFile] checks a whole chain offline, with nothing but the public key.
//
// The package guarantees:
//   - no field of a record can change, and no record can be left out, moved, or put in between, without [VerifyFile] saying so;
//   - where a value, a listed hash, a number or a link was altered alone, it is named; where a record was rewritten together with
//     its hashes, the record is named;
//   - JSON is only a rendering: the bytes that are signed are derived from the values, so white space and order do not matter, and
//     whatever would be read differently by another program (a key twice, a key that is unknown) is refused;
//   - input is bounded, and no input causes a panic; no I/O, no clock, no randomness.
//
// It does not guarantee against whoever has the private key: he can sign another history. Nor can a chain tell that its last
// records were cut off; compare with a [Head] that was noted earlier. And a public key that comes from the file itself
// proves only that the file is whole, not whose it is.
//
// No record contains a share, a key or a token.
package transcript
