// Package cluster connects the nodes of a cluster: HTTP/2 over TLS 1.3, in which both sides present
// a certificate.
//
// It guarantees:
//   - Both ends are unsealed nodes of one cluster. An [Authority] issues the certificates; the
//     leader makes one for each leadership and keeps its key behind the barrier. A node that cannot
//     open the barrier can issue no certificate, and one that could before cannot any more.
//   - A client reaches the node that it means, because the node's id is the name in the
//     certificate.
//   - Nothing that a client of the API sends is taken for what a node says about it ([Origin]): the
//     headers for that are read on this listener alone.
//
// It does not guarantee delivery: whether a request without an answer was carried out is unknown,
// unless [Unsent] reports that it was not.
//
// Stays compatible: the headers of [Origin], and the encoding of [Authority.Marshal].
package cluster
