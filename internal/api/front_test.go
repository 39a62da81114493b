package api

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/config"
)

func TestForwardedFor(t *testing.T) {
	t.Parallel()
	strict := config.ForwardedFor{Authorized: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("2001:db8::/32")}, RejectAbsent: true, RejectNotAuthorized: true}
	lax := strict
	lax.RejectAbsent, lax.RejectNotAuthorized, lax.HopSkips = false, false, 1
	for _, tc := range []struct {
		name    string
		f       config.ForwardedFor
		peer    string
		headers []string
		want    string // an address, or part of the refusal
	}{
		{"absent", strict, "192.0.2.1:1", nil, "missing x-forwarded-for"},
		{"absent and allowed", lax, "192.0.2.1:1", nil, "192.0.2.1:1"},
		{"one hop", strict, "192.0.2.1:1", []string{"198.51.100.7"}, "198.51.100.7:1"},
		{"the client's own claims stand in front", strict, "192.0.2.1:1", []string{"10.0.0.1, 10.0.0.2", "198.51.100.7"},
			"198.51.100.7:1"},
		{"one more proxy", lax, "192.0.2.1:1", []string{"198.51.100.7,192.0.2.9"}, "198.51.100.7:1"},
		{"too few", lax, "192.0.2.1:1", []string{"198.51.100.7"},
			"hops to skip (1) would skip before earliest chain link (chain length 1)"},
		{"IPv6", strict, "[2001:db8::1]:1", []string{"2001:db9::5"}, "[2001:db9::5]:1"},
		{"a stranger", strict, "203.0.113.1:1", []string{"198.51.100.7"}, "not authorized"},
		{"a stranger, ignored", lax, "203.0.113.1:1", []string{"198.51.100.7"}, "203.0.113.1:1"},
		{"nonsense", strict, "192.0.2.1:1", []string{"evil"}, "is no IP address"},
		{"a socket", strict, "@", []string{"198.51.100.7"}, "not authorized"},
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{}}
		if tc.headers != nil {
			r.Header["X-Forwarded-For"] = tc.headers
		}
		got, err := forwardedFor(&tc.f, r)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
