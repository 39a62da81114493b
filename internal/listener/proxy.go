package listener

import (
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"github.com/sealgate/sealgate/internal/config"
)

func Within(all []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// proxied returns a listener that reads the PROXY protocol, versions 1 and 2, as the configuration
// allows.
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
			if err != nil || !Within(authorized, peer.Addr()) {
				return other, nil
			}
			return proxyproto.USE, nil
		}}
}
