// Package chaos holds real clusters against what they promise, while everything that can happen to
// them does: three nodes of the real program on etcd or PostgreSQL, clients that check and set
// through all of them, and nodes that are killed, stopped in their tracks, cut off from the
// storage, made to step down, or lose their storage. It contains only tests.
//
// What must hold: the history of all clients is linearizable, no acknowledged write is lost, and no
// node commits in another leader's epoch.
package chaos
