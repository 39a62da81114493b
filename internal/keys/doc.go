// Package keys holds named, versioned keys: what the transit engine and the other gateways serve.
//
// A [Key] has settings and versions. Each [Version] names the [Provider] that holds its key and
// carries a reference which only that provider understands: key material for the provider
// "software", a label or an id for a device. A provider opens a version to a handle; what the
// handle can do is found by assertion: [Encrypter], [Signer], [MACer], [Agreer], [Exporter]. An
// operation that a handle lacks is refused; it never falls back to another provider.
//
// It guarantees that each change of a key is one commit, after which memory equals disk; that
// changes of one key come one after the other; that a version that was trimmed, or belonged to a
// deleted key, cannot be used again, although its record may be removed later, by [Store.Sweep];
// and that keys are decoded once and dropped when another node changes them ([Store.Invalidate]).
//
// It does not guarantee that the use of a key version is counted to the last one: [Store.Flush]
// writes the counts now and then, and a crash loses those since. It decides nothing about
// permissions.
//
// Stays compatible: the records, whose first byte is their version, and their places below the
// mount: "k/<name>" for settings, "v/<id>/<number>" for versions, "u/<id>" for counts of use,
// "g/<id>" for versions that are still to be removed, "d/<id>/<number>" for keys in devices that
// are being made or destroyed. The formats of ciphertexts and backups are
// OpenBao's.
package keys
