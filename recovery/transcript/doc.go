// Package transcript is the signed, chained record of ceremonies: who started one, with what
// parameters, whose shares were submitted when, and how it ended.
//
// Each record has a number, contains the hash of the record before it, and is signed with Ed25519
// (RFC 8032). The signature covers a hash over the list of the fields' hashes, and the record keeps
// that list, so verification can name an altered field. [VerifyFile] checks a whole chain offline
// with the public key alone.
//
// The package guarantees:
//   - [VerifyFile] reports every changed field and every record that was left out, moved or
//     inserted;
//   - it names the value, listed hash, number or link that was altered alone; if a record was
//     rewritten together with its hashes, it names the record;
//   - JSON is only a rendering: the signed bytes are derived from the values, so white space and
//     order do not matter, and JSON that another program could read differently (a repeated or
//     unknown key) is refused;
//   - input is bounded, and no input causes a panic; no I/O, no clock, no randomness.
//
// It does not guarantee:
//   - anything against a holder of the private key, who can sign another history;
//   - that the last records are present, beyond the head in the file ([Attested]), which is as old
//     as the file: compare with a [Head] that was noted later;
//   - that co-signatures ([CoSignature]) are valid or complete: package
//     recovery/transcript/cosign verifies them, and who can change a file can leave them out. The
//     chain itself says which key in a device was to sign which records ([DeviceKey]);
//   - the origin of a file that is verified with the public key in the file: that proves
//     consistency only.
//
// No record contains a share, a key or a token.
package transcript
