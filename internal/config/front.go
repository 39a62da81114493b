package config

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// The values of proxy_protocol_behavior.
const (
	ProxyAlways     = "use_always"        // any peer may send a header
	ProxyAuthorized = "allow_authorized"  // a header counts if it comes from proxy_protocol_authorized_addrs
	ProxyDeny       = "deny_unauthorized" // a header from any other address closes the connection
)

// ForwardedFor configures trust in X-Forwarded-For.
type ForwardedFor struct {
	Authorized          []netip.Prefix // x_forwarded_for_authorized_addrs; none: the header is ignored
	HopSkips            int64          // proxies between the client and the last proxy
	RejectAbsent        bool           // x_forwarded_for_reject_not_present; true
	RejectNotAuthorized bool           // x_forwarded_for_reject_not_authorized; true
	CertHeader          string         // header with the client's certificate, set by the proxies; "": none
	CertDecoders        []string       // its decoders, from left to right: "URL", "BASE64", "DER"
}

// CORS configures cross-origin requests.
type CORS struct {
	Enabled          bool
	Origins          []string // "*" alone: all
	Headers          []string // in addition to those of the API
	AllowCredentials bool
}

// Front configures what a listener does before and after the API: proxies, headers, CORS, open
// endpoints.
type Front struct {
	ProxyBehavior   string // "": no PROXY protocol
	ProxyAuthorized []netip.Prefix
	Forwarded       ForwardedFor
	CORS            CORS // not enabled: sys/config/cors applies
	// Headers are custom_response_headers: by status ("default", "2xx" or "404"), then by header.
	Headers map[string]http.Header

	MetricsOnly     bool // role "metrics_only": only sys/metrics and sys/health
	OpenMetrics     bool // unauthenticated_metrics_access
	DisallowMetrics bool
	MetricsPath     string // a second path for sys/metrics, such as "/metrics"
	OpenInFlight    bool   // unauthenticated_in_flight_requests_access
	OpenProfiles    bool   // unauthenticated_pprof_access
}

func (d *decoder) listenerFront(s *section, l *Listener) {
	f := &l.Front
	s.choice("proxy_protocol_behavior", []string{ProxyAlways, ProxyAuthorized, ProxyDeny}, &f.ProxyBehavior)
	f.ProxyAuthorized = s.addresses("proxy_protocol_authorized_addrs")
	if p, ok := s.seen["proxy_protocol_behavior"]; ok && f.ProxyBehavior != ProxyAlways &&
		len(s.words("proxy_protocol_authorized_addrs")) == 0 {
		d.fail(p, "%s requires proxy_protocol_authorized_addrs: the addresses of the proxies",
			s.label("proxy_protocol_behavior"))
	}
	f.Forwarded = ForwardedFor{RejectAbsent: true, RejectNotAuthorized: true}
	f.Forwarded.Authorized = s.addresses("x_forwarded_for_authorized_addrs")
	s.integer("x_forwarded_for_hop_skips", 0, 64, &f.Forwarded.HopSkips)
	d.clientCertHeader(s, &f.Forwarded)
	s.flag("x_forwarded_for_reject_not_present", &f.Forwarded.RejectAbsent)
	s.flag("x_forwarded_for_reject_not_authorized", &f.Forwarded.RejectNotAuthorized)
	d.listenerCORS(s, f)
	for _, b := range s.blocks("custom_response_headers", 0, 0) {
		d.responseHeaders(b, f)
	}
	d.listenerMetrics(s, f)
}

// addresses reads a list of IP addresses and networks.
func (s *section) addresses(key string) []netip.Prefix {
	var all []netip.Prefix
	for i, word := range s.words(key) {
		if p, err := netip.ParsePrefix(word); err == nil {
			all = append(all, p.Masked())
			continue
		}
		ip, err := netip.ParseAddr(word)
		if err != nil {
			s.d.fail(s.posOf(key), "%s: %s; the form is 192.0.2.7 or 192.0.2.0/24", s.label(key), badAddress(i+1, word))
			continue
		}
		all = append(all, netip.PrefixFrom(ip, ip.BitLen()))
	}
	return all
}

// badAddress says what is wrong with an entry of a list of addresses. It shows the entry only if it
// looks like an address: anything else may be a secret in the wrong place.
func badAddress(number int, word string) string {
	name := fmt.Sprintf("entry %d", number)
	if strings.Trim(word, "0123456789abcdefABCDEF.:/[]") == "" && strings.ContainsAny(word, ".:") && len(word) <= 64 {
		name += " (" + word + ")"
	}
	if _, err := netip.ParseAddrPort(word); err == nil {
		return name + " has a port"
	}
	return name + " is not an IP address or network"
}

// posOf is the position of a key, whether its value is a list or not.
func (s *section) posOf(key string) Pos {
	for _, f := range s.body.fields {
		if f.name == key {
			return f.pos
		}
	}
	return Pos{}
}

func (d *decoder) listenerCORS(s *section, f *Front) {
	var c CORS
	s.flag("cors_enabled", &c.Enabled)
	c.Origins, c.Headers = s.words("cors_allowed_origins"), s.words("cors_allowed_headers")
	s.flag("cors_allow_credentials", &c.AllowCredentials)
	if !c.Enabled {
		return
	}
	if len(c.Origins) == 0 {
		d.fail(s.posOf("cors_enabled"), `%s requires cors_allowed_origins: a list of origins, or "*" alone`,
			s.label("cors_enabled"))
	}
	for _, o := range c.Origins {
		if o == "*" && (len(c.Origins) > 1 || c.AllowCredentials) {
			d.fail(s.posOf("cors_allowed_origins"), `%s: "*" must be the only origin, and excludes cors_allow_credentials`,
				s.label("cors_allowed_origins"))
		}
	}
	f.CORS = c
}

// responseHeaders reads custom_response_headers: blocks by status, with one value or a list for
// each header.
func (d *decoder) responseHeaders(b block, f *Front) {
	if f.Headers == nil {
		f.Headers = map[string]http.Header{}
	}
	for _, m := range b.body.fields {
		if !isStatus(m.name) {
			d.fail(m.pos, `listener: custom_response_headers: %s is not a status: use "default", "2xx" or "404"`, short(m.name))
			continue
		}
		inner, err := m.blocks(0, 0)
		if err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		for _, in := range inner {
			for _, h := range in.body.fields {
				d.responseHeader(f, m.name, h)
			}
		}
	}
}

func (d *decoder) responseHeader(f *Front, status string, h field) {
	values := []value{h.val}
	if h.val.kind == isList {
		values = h.val.list
	}
	name := http.CanonicalHeaderKey(h.name)
	if !httpguts.ValidHeaderFieldName(name) || strings.HasPrefix(name, "X-Vault-") || name == "Content-Length" {
		d.fail(h.pos, "listener: custom_response_headers: %s cannot be set: it is not a valid header name, or the "+
			"server sets it", short(h.name))
		return
	}
	if f.Headers[status] == nil {
		f.Headers[status] = http.Header{}
	}
	for _, v := range values {
		if v.kind == isList || v.kind == isObject || !httpguts.ValidHeaderFieldValue(v.text) {
			d.fail(h.pos, "listener: custom_response_headers: the value of %s must be a line of text, or a list of them",
				short(h.name))
			return
		}
		f.Headers[status][name] = append(f.Headers[status][name], v.text)
	}
}

// isStatus accepts "default", the classes "1xx" to "5xx", and status codes.
func isStatus(name string) bool {
	if name == "default" {
		return true
	}
	if len(name) == 3 && name[1:] == "xx" {
		return name[0] >= '1' && name[0] <= '5'
	}
	n, err := strconv.Atoi(name)
	return err == nil && len(name) == 3 && n >= 100 && n <= 599
}

func (d *decoder) listenerMetrics(s *section, f *Front) {
	for _, b := range s.blocks("telemetry", 0, 0) {
		t := d.section("listener telemetry", b.body)
		t.flag("unauthenticated_metrics_access", &f.OpenMetrics)
		t.flag("disallow_metrics", &f.DisallowMetrics)
		t.flag("metrics_only", &f.MetricsOnly)
		t.str("metrics_path", &f.MetricsPath)
		if f.MetricsPath != "" && (!strings.HasPrefix(f.MetricsPath, "/") || strings.HasPrefix(f.MetricsPath, "/v1/")) {
			d.fail(t.posOf("metrics_path"), "%s must begin with a slash and not be below /v1/", t.label("metrics_path"))
		}
		t.finish(nil)
	}
	for _, b := range s.blocks("inflight_requests_logging", 0, 0) {
		t := d.section("listener inflight_requests_logging", b.body)
		t.flag("unauthenticated_in_flight_requests_access", &f.OpenInFlight)
		t.finish(nil)
	}
	for _, b := range s.blocks("profiling", 0, 0) {
		t := d.section("listener profiling", b.body)
		t.flag("unauthenticated_pprof_access", &f.OpenProfiles)
		if f.OpenProfiles {
			d.note(t.posOf("unauthenticated_pprof_access"), "unauthenticated_pprof_access", true,
				"any client of the listener can take profiles, which cost time and show what the server does")
		}
		t.finish(nil)
	}
	var role string
	s.choice("role", []string{"default", "metrics_only"}, &role)
	f.MetricsOnly = f.MetricsOnly || role == "metrics_only"
}

// clientCertHeader reads how proxies forward client certificates. It requires the proxies'
// addresses: otherwise any client could forge the header.
func (d *decoder) clientCertHeader(s *section, f *ForwardedFor) {
	s.str("x_forwarded_for_client_cert_header", &f.CertHeader)
	for _, word := range s.words("x_forwarded_for_client_cert_header_decoders") {
		if word = strings.ToUpper(word); word != "URL" && word != "BASE64" && word != "DER" {
			d.fail(s.posOf("x_forwarded_for_client_cert_header_decoders"), "%s must list URL, BASE64 and DER, in the order of "+
				"decoding",
				s.label("x_forwarded_for_client_cert_header_decoders"))
			return
		}
		f.CertDecoders = append(f.CertDecoders, word)
	}
	if f.CertHeader != "" && len(s.words("x_forwarded_for_authorized_addrs")) == 0 {
		d.fail(s.posOf("x_forwarded_for_client_cert_header"), "%s requires x_forwarded_for_authorized_addrs: the addresses "+
			"of the proxies",
			s.label("x_forwarded_for_client_cert_header"))
	}
}
