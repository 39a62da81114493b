package api

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/listener"
)

// maxCertHeader bounds what is decoded.
const maxCertHeader = 32 << 10

// forwardedCert takes the client's certificate from the header of a trusted proxy, which has
// verified that the client has the key. The header of any other peer is ignored. The certificate of
// the proxy's own connection is never the client's.
func forwardedCert(f *config.ForwardedFor, r *http.Request) error {
	if f.CertHeader == "" {
		return nil
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !listener.Within(f.Authorized, peer.Addr()) {
		return nil
	}
	values := r.Header.Values(f.CertHeader)
	if len(values) > 1 { // a proxy that adds its header leaves the client's in front
		return fault.New(fault.Invalid, "%s is there more than once: let the proxy replace what the client sends",
			http.CanonicalHeaderKey(f.CertHeader))
	}
	if len(values) == 0 || values[0] == "" {
		if r.TLS != nil {
			bare := *r.TLS
			bare.PeerCertificates, bare.VerifiedChains, bare.OCSPResponse = nil, nil, nil
			r.TLS = &bare
		}
		return nil
	}
	cert, err := decodeCert(values[0], f.CertDecoders)
	if err != nil {
		return fault.Wrap(err, fault.Invalid,
			"the client certificate in %s cannot be read as x_forwarded_for_client_cert_header_decoders says",
			http.CanonicalHeaderKey(f.CertHeader))
	}
	r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}}
	return nil
}

var errNotCert = errors.New("api: not a certificate")

// decodeCert undoes encodings from left to right; the result is the certificate in DER.
func decodeCert(value string, decoders []string) (*x509.Certificate, error) {
	if len(value) > maxCertHeader {
		return nil, errNotCert
	}
	for _, d := range decoders {
		switch d {
		case "URL":
			text, err := url.QueryUnescape(value)
			if err != nil {
				return nil, err
			}
			value = text
		case "BASE64":
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
			if err != nil {
				return nil, err
			}
			value = string(raw)
		case "DER": // PEM, of which it takes the DER
			block, _ := pem.Decode([]byte(value))
			if block == nil {
				return nil, errNotCert
			}
			value = string(block.Bytes)
		}
	}
	return x509.ParseCertificate([]byte(value))
}
