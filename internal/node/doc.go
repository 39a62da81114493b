// Package node is the seal state machine: one Sealgate process between its storage and its clients.
//
//	                 Init                      share quorum, or the seals by themselves
//	uninitialised ---------> sealed -------------------------------------------------------> unsealed
//	                          ^  ^                                                             |
//	                          |  |  Seal (an operator): only shares or a restart unseal again  |
//	                          |  +-------------------------------------------------------------+
//	                          |     the process stops; Restore replaces the data               |
//	                          +----------------------------------------------------------------+
//
//	unsealed, without a cluster: one role, active, until it is sealed
//	unsealed, in a cluster:      standby and leader in turn, see package ha
//
// Each transition has a file: init.go, unseal.go, activate.go, replica.go, seal.go, snapshot.go.
// What a quorum of share holders authorises is package ceremony; who leads a cluster is package ha.
//
// It guarantees:
//   - A node always starts. A seal or a storage that is unavailable keeps it sealed, is reported
//     with class and remedy, and is tried again.
//   - Initialising, replacing the root key and re-wrapping it are one storage commit each: a crash
//     leaves the state before or the state after. Memory follows what is on disk.
//   - Status and health answer from memory: they wait for no seal and for no operation.
//   - No change of role asks a seal, except to follow a root key that another node has replaced.
//
// It does not guarantee that a standby can follow a new root key: where that takes a seal that is
// unavailable, or shares, the standby forwards requests and cannot lead until it is unsealed again.
//
// It knows no provider and no protocol: seals come in as a [seals.Set], secrets engines and auth
// methods as a [mount.Factory].
//
// Stays compatible: the entries "core/seal" (seals.Record), "core/recovery-shape" (shareCounts),
// "core/break-glass" (recovery.BreakGlass), "core/cluster" (clusterRecord) and "core/custody/"
// (recovery.ShareSet).
package node
