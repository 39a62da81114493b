// Package cosigner has a key in an HSM or KMS sign the records of the transcript, beside the server
// and the holders of shares.
//
// A setting behind the barrier names a managed key. Each change of it is a record of the transcript
// itself, with the fingerprint of the key ([transcript.PurposeDeviceKey]); the key signs this
// record and all that follow, up to and with the record of the next change. The signatures have the
// form of a holder's (see package recovery/transcript/cosign) and are stored beside the records.
//
// It guarantees:
//   - A key is stored only after it has made a signature that verifies. No mount uses it from then
//     on (see [device.Reserved]).
//   - A setting is used only where it is the one that the last record of a change in the attested
//     chain names. One that was put back, exchanged or removed in the storage raises an alarm, and
//     nothing is signed.
//   - The key signs the hashes of records in the chain that ends in the attested head, no others.
//   - No ceremony waits for the device or fails by it. What could not be signed is signed later, by
//     the next leader, too: what is missing follows from the storage.
//
// It does not guarantee that every record is signed: [State] has how many are not, and
// `transcript verify` names them. A client that may change the setting can have another key sign;
// the records, and auditors who pinned the key before, show that.
//
// Stays compatible: the entry "core/transcript/signer", drawn at its type.
package cosigner
