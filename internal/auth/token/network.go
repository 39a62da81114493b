package token

import (
	"net/netip"
)

// maxNetwork bounds the text of a network.
const maxNetwork = 64

// ParseNetwork parses a network as requests and records write it: "10.0.0.0/8", also with bits of a
// host ("10.1.2.3/8"), or an address, which is a network of one. An IPv4 address in IPv6 form is an
// IPv4 address. Texts are stored and shown as they were written.
func ParseNetwork(text string) (p netip.Prefix, ok bool) {
	if len(text) > maxNetwork {
		return p, false
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// Within reports whether a client's address ("192.0.2.1:1234") is in one of the networks. An
// address that cannot be parsed, such as that of a unix socket, is in none.
func Within(networks []string, remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	for _, n := range networks {
		if p, ok := ParseNetwork(n); ok && p.Contains(addr) {
			return true
		}
	}
	return false
}
