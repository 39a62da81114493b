// Package cluster is how the nodes of a cluster talk to each other: HTTP/2 over TLS 1.3, in which both sides show a certificate.
//
// It guarantees that both ends are unsealed nodes of one cluster: certificates are issued by an [Authority] whose key the leader makes and
// keeps behind the barrier, one for each term of office, so that who cannot open the barrier can issue none and who could once cannot any
// more; that a client speaks to the very node it means, because the node's id is the certificate's name; and that what a client of the API
// sends is never taken for what a node says about it ([Origin]): these headers are read on this listener alone.
//
// It does not guarantee delivery: whether a request that got no answer was carried out is unknown, unless [Unsent] says that it was not.
package cluster
