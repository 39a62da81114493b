package kmip

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/seals"
)

var _ seals.Limiter = (*Wrapper)(nil)

// Limits reports when the certificates of the client and, once it was connected to, of the server
// end.
func (w *Wrapper) Limits(context.Context) ([]seals.Limit, error) {
	var out []seals.Limit
	l, err := seals.CertificateLimit("client certificate", w.client.s.clientCert)
	if err == nil {
		out = append(out, l)
	}
	if c := w.client.peer.Load(); c != nil {
		out = append(out, seals.Ends("server certificate", c.NotBefore, c.NotAfter, false,
			"have it renewed on the KMIP server"))
	}
	if w.client.s.caCert != "" {
		l, failed := seals.CertificateLimit("certificate of the server's CA", w.client.s.caCert)
		if err = errors.Join(err, failed); failed == nil {
			out = append(out, l)
		}
	}
	return out, err
}
