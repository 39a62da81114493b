package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers between nodes. Their common prefix lets [Strip] remove all of them from what clients
// send.
const (
	headerLead     = "X-Sealgate-Cluster-"
	headerRemote   = headerLead + "Remote"   // the client's address, host and port
	headerChain    = headerLead + "Chain"    // the client's certificates, DER in base64, by commas
	headerVerified = headerLead + "Verified" // how many of them the listener has verified, from the first
	headerLeft     = headerLead + "Left"     // milliseconds until the request's deadline
	headerUndone   = headerLead + "Undone"   // in an answer: nothing was done, ask the leader
)

// Bounds of a client's certificates.
const (
	maxChain = 10
	maxCert  = 64 << 10
)

// Origin is what the node that received a request from a client knows of the client, for the node
// that answers it.
type Origin struct {
	Remote string               // "192.0.2.1:1234", "@" for a socket
	TLS    *tls.ConnectionState // nil without a client's certificate; only the certificates are carried
	Left   time.Duration        // until the deadline; 0: none
}

// Strip removes the headers of nodes from a client's request.
func Strip(h http.Header) {
	for name := range h {
		if len(name) >= len(headerLead) && strings.EqualFold(name[:len(headerLead)], headerLead) {
			delete(h, name)
		}
	}
}

// Mark writes the origin into the headers of a request to another node, replacing what is there.
func (o Origin) Mark(h http.Header) {
	Strip(h)
	h.Set(headerRemote, o.Remote)
	if o.Left > 0 {
		h.Set(headerLeft, strconv.FormatInt(max(1, o.Left.Milliseconds()), 10))
	}
	if o.TLS == nil || len(o.TLS.PeerCertificates) == 0 {
		return
	}
	certs, verified := o.TLS.PeerCertificates, 0
	if len(o.TLS.VerifiedChains) > 0 {
		certs = o.TLS.VerifiedChains[0]
		verified = len(certs)
	}
	var all []string
	for _, c := range certs[:min(len(certs), maxChain)] {
		all = append(all, base64.StdEncoding.EncodeToString(c.Raw))
	}
	h.Set(headerChain, strings.Join(all, ","))
	h.Set(headerVerified, strconv.Itoa(min(verified, maxChain)))
}

// ReadOrigin takes the origin out of the headers of a request from another node.
func ReadOrigin(h http.Header) (Origin, error) {
	defer Strip(h)
	o := Origin{Remote: h.Get(headerRemote)}
	if o.Remote == "" {
		return o, fmt.Errorf("cluster: a request without %s", headerRemote)
	}
	if text := h.Get(headerLeft); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n <= 0 {
			return o, fmt.Errorf("cluster: %s is not a number of milliseconds", headerLeft)
		}
		o.Left = time.Duration(n) * time.Millisecond
	}
	chain := h.Get(headerChain)
	if chain == "" {
		return o, nil
	}
	var certs []*x509.Certificate
	for text := range strings.SplitSeq(chain, ",") {
		if len(certs) == maxChain || len(text) > maxCert {
			return o, fmt.Errorf("cluster: %s is too long", headerChain)
		}
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return o, fmt.Errorf("cluster: %s: %w", headerChain, err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return o, fmt.Errorf("cluster: %s: %w", headerChain, err)
		}
		certs = append(certs, c)
	}
	n, err := strconv.Atoi(h.Get(headerVerified))
	if err != nil || n < 0 || n > len(certs) {
		return o, fmt.Errorf("cluster: %s is not a number of certificates", headerVerified)
	}
	o.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: certs}
	if n > 0 {
		o.TLS.VerifiedChains = [][]*x509.Certificate{certs[:n]}
	}
	return o, nil
}

// Undone marks an answer that says that nothing was done: the asking node may send the request to
// the current leader.
func Undone(h http.Header) { h.Set(headerUndone, "1") }

// IsUndone reports whether an answer of another node is marked so.
func IsUndone(h http.Header) bool { return h.Get(headerUndone) != "" }
