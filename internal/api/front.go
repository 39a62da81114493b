package api

import (
	"bytes"
	"compress/gzip"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"

	"github.com/pires/go-proxyproto"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
)

// enter takes a request through what stands before the API: proxies, other paths, other origins. An answer ends it there.
func (h *handler) enter(q *request) (*answer, error) {
	f := &h.Front
	if len(f.Forwarded.Authorized) > 0 {
		client, err := forwardedFor(&f.Forwarded, q.http)
		if err != nil {
			return nil, err
		}
		if err := forwardedCert(&f.Forwarded, q.http); err != nil {
			return nil, err
		}
		q.http.RemoteAddr = client
	}
	if path := q.http.URL.Path; f.MetricsPath != "" && path == f.MetricsPath {
		u := *q.http.URL
		u.Path = "/v1/sys/metrics"
		q.http.URL = &u
	} else if f.MetricsOnly && path != "/v1/sys/metrics" && path != "/v1/sys/health" {
		return nil, errNoSuchPage
	}
	if q.http.Header["Origin"] != nil {
		return h.crossOrigin(q)
	}
	return nil, nil
}

// forwardedFor finds out for whom a trusted proxy asks. The address is the one that stands as many places from the end of
// X-Forwarded-For as there are further proxies: what stands before it the client may have written itself.
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
	if err != nil || bad != nil || !within(f.Authorized, peer) {
		if f.RejectNotAuthorized {
			return "", fault.New(fault.Invalid, "client address not authorized for x-forwarded-for and configured to reject connection")
		}
		return r.RemoteAddr, nil
	}
	chain := strings.Split(strings.Join(values, ","), ",")
	place := len(chain) - 1 - int(f.HopSkips)
	if place < 0 {
		return "", fault.New(fault.Invalid, "malformed x-forwarded-for configuration or request, hops to skip (%d) would skip before earliest chain link "+
			"(chain length %d)", f.HopSkips, len(chain))
	}
	client, err := netip.ParseAddr(strings.TrimSpace(chain[place]))
	if err != nil {
		return "", fault.New(fault.Invalid, "malformed x-forwarded-for header: entry %d of %d is no IP address", place+1, len(chain))
	}
	return net.JoinHostPort(client.Unmap().String(), port), nil
}

func within(all []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// proxied is a listener that speaks the PROXY protocol, versions 1 and 2, as far as the configuration lets it.
func proxied(l net.Listener, c config.Listener) net.Listener {
	authorized := c.Front.ProxyAuthorized
	var other proxyproto.Policy
	switch c.Front.ProxyBehavior {
	case config.ProxyAlways:
		return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: readHeaderTimeout,
			ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.USE, nil }}
	case config.ProxyAuthorized:
		other = proxyproto.IGNORE
	case config.ProxyDeny:
		other = proxyproto.REJECT
	default:
		return l
	}
	return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: readHeaderTimeout,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			peer, err := netip.ParseAddrPort(o.Upstream.String())
			if err != nil || !within(authorized, peer.Addr()) {
				return other, nil
			}
			return proxyproto.USE, nil
		}}
}

// dress sets the headers that the configuration has for a status: those of "default", of its class, of itself, each over the
// ones before.
func dress(h http.Header, f *config.Front, status int) {
	if f == nil || f.Headers == nil {
		return
	}
	code := strconv.Itoa(status)
	for _, key := range [...]string{"default", code[:1] + "xx", code} {
		for name, values := range f.Headers[key] {
			h[name] = values
		}
	}
}

// compressFrom is the size from which an answer is compressed for clients that take gzip: lists of thousands of names and
// documents of the API. Secrets of usual sizes are sent as they are: their compressed length would tell of their content.
const compressFrom = 32 << 10

var packers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil { // the level is right
		panic(err)
	}
	return w
}}

// compressed packs a large body where the client takes that.
func (q *request) compressed(body []byte) []byte {
	if len(body) < compressFrom {
		return body
	}
	header := q.out.Header()
	header.Add("Vary", "Accept-Encoding")
	if !acceptsGzip(q.http.Header["Accept-Encoding"]) {
		return body
	}
	var out bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	if _, err := w.Write(body); err != nil {
		return body
	}
	if err := w.Close(); err != nil {
		return body
	}
	header["Content-Encoding"] = []string{"gzip"}
	return out.Bytes()
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3).
func acceptsGzip(values []string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !ok || err == nil && weight > 0
		}
	}
	return false
}

// errOrigin is for pages of origins that are not allowed.
var errOrigin = &status{http.StatusForbidden, "origin not allowed"}
