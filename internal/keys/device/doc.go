// Package device holds the keys that stay in an HSM, a cloud KMS or another transit engine.
//
// A [Hub] belongs to the process: it has the drivers, the libraries that the server's configuration
// names, and the open connections. A [Registry] belongs to one role of the node: it keeps, behind
// the barrier, which keys of which device may be used by which mounts. Both public faces use it:
// Vault's managed keys and OpenBao's external keys (see [Face]). A [Mount] is what one mount may do
// with them; its [Mount.Providers] make the versions of package keys.
//
//	sys/managed-keys, sys/external-keys ─▶ Registry ─▶ Hub ─▶ Driver ─▶ Connection ─▶ Key
//	transit key, version ─▶ keys.Provider ─▶ Mount ─▶ Registry        (again at each use)
//
// It guarantees that a configuration is stored only after a round trip with its key; that each use
// is checked against the mount's permission and the key's usages as they are now; that a key is
// used only while the device has the same key under its name as when the version was made; that no
// key of a seal is used, however it is named; that nothing is done in software for a key in a
// device, other than with its public part; and that clients get the class and the remedy of a
// failure, never an address or the text of a library or service.
//
// It does not guarantee that a device reports the truth about its keys, and does not decide who may
// write a configuration: that is the policy's.
//
// Stays compatible: the records, whose first byte is their version, below "core/device-keys/", and
// the reference in each version of a key.
package device
