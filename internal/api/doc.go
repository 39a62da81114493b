// Package api is the engine that answers HTTP in Vault's shape: the table of routes, the pipeline
// of a request, rendering, errors, and forwarding in a cluster. Handlers are in its subpackages,
// one for each area; package v1 joins them.
//
//	listener ─▶ front: proxies, CORS ─▶ parse: canonical path ─▶ route ─▶ this node, or forward
//	                                                                           │
//	client ◀─ render ◀─ wrap ◀─ audit ◀─ handler ◀─ audit ◀─ authorise ◀─ quota ◀──┘
//
// It guarantees that every request takes this one way; that a route's line in the table says what
// it needs; that bad input is never answered with a 5xx; that an internal error shows the client
// its class and a request id and nothing more, and the log the cause under the same id; that no
// error shows a nonce; that a request ends by its deadline; and that a panic ends one request
// alone.
//
// In a cluster a standby answers the routes that are marked Here, and reads of secrets, once it has
// proven that it is current; everything else is forwarded to the leader, which answers by
// [NewPeer]. A request that meets a change of leader waits for the next one, as long as nothing of
// it was carried out.
//
// It does not guarantee the wire shape beyond what clients of Vault and OpenBao decode: members may
// be added.
//
// Stays compatible: paths, members and texts of Vault's API as far as they are implemented. Other
// paths are answered "unsupported path" with 404, as Vault does.
package api
