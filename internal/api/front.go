package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/listener"
)

// enter applies what the listener has in front of the API: proxies, other paths, other origins. An
// answer ends the request.
func (h *Handler) enter(q *Request) (*Answer, error) {
	f := &h.Front
	if len(f.Forwarded.Authorized) > 0 {
		client, err := forwardedFor(&f.Forwarded, q.HTTP)
		if err != nil {
			return nil, err
		}
		if err := forwardedCert(&f.Forwarded, q.HTTP); err != nil {
			return nil, err
		}
		q.HTTP.RemoteAddr = client
	}
	if path := q.HTTP.URL.Path; f.MetricsPath != "" && path == f.MetricsPath {
		u := *q.HTTP.URL
		u.Path = "/v1/sys/metrics"
		q.HTTP.URL = &u
	} else if f.MetricsOnly && path != "/v1/sys/metrics" && path != "/v1/sys/health" {
		return nil, errNoSuchPage
	}
	if q.HTTP.Header["Origin"] != nil {
		return h.crossOrigin(q)
	}
	return nil, nil
}

// forwardedFor returns the client's address as a trusted proxy reports it: the one that is as far
// from the end of X-Forwarded-For as there are further proxies. The client may have written what is
// before it.
func forwardedFor(f *config.ForwardedFor, r *http.Request) (string, error) {
	values := r.Header[textproto.CanonicalMIMEHeaderKey("X-Forwarded-For")]
	if len(values) == 0 {
		if f.RejectAbsent {
			return "", fault.New(fault.Invalid, "missing x-forwarded-for header and configured to reject when not present")
		}
		return r.RemoteAddr, nil
	}
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	peer, bad := netip.ParseAddr(host)
	if err != nil || bad != nil || !listener.Within(f.Authorized, peer) {
		if f.RejectNotAuthorized {
			return "",
				fault.New(fault.Invalid, "client address not authorized for x-forwarded-for and configured to reject connection")
		}
		return r.RemoteAddr, nil
	}
	chain := strings.Split(strings.Join(values, ","), ",")
	place := len(chain) - 1 - int(f.HopSkips)
	if place < 0 {
		return "", fault.New(fault.Invalid, "malformed x-forwarded-for configuration or request, hops to skip (%d) would "+
			"skip before earliest chain link "+
			"(chain length %d)", f.HopSkips, len(chain))
	}
	client, err := netip.ParseAddr(strings.TrimSpace(chain[place]))
	if err != nil {
		return "", fault.New(fault.Invalid, "malformed x-forwarded-for header: entry %d of %d is no IP address",
			place+1, len(chain))
	}
	return net.JoinHostPort(client.Unmap().String(), port), nil
}
