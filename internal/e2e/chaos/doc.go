// Package chaos holds real clusters against what they promise, while everything that can happen to them does: three nodes of the real program on
// etcd or PostgreSQL, clients that check and set through all of them, and nodes that are killed, stopped in their tracks, cut off from the storage,
// told to step down, or whose storage goes away. It contains tests alone.
//
// What must hold: the history of all clients is linearizable, no acknowledged write is lost, and nobody commits in another's term of office.
package chaos
