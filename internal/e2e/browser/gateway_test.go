package browser

import (
	"encoding/base64"
	"testing"
)

// TestGatewayPages stops and starts what other systems use, and confirms what was proposed.
func TestGatewayPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.must(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"}, nil)
	s.must(t, "POST", "transit/keys/downstream", map[string]any{}, nil)
	useGateway(t, s, "openbao")
	encrypt := map[string]any{"plaintext": base64.StdEncoding.EncodeToString([]byte("data"))}
	s.must(t, "POST", "transit/encrypt/downstream", encrypt, nil)
	s.must(t, "POST", "transit/keys/downstream/rotate", nil, nil)
	s.must(t, "POST", "transit/encrypt/downstream", encrypt, nil)
	v := newVisitor(t, newBrowser(t), s.URL())
	v.login(s.root)

	v.open("/ui/tenants")
	v.sees("1, 2 of 2")
	v.check("tenants-used")
	v.submit("form[action='/ui/do/tenants/suspend']", nil)
	v.sees("suspended")
	v.open("/ui/transit?key=transit/downstream")
	v.sees("Versions of transit/downstream")
	v.until("the plot", "document.querySelector('svg.bars[aria-label*=\"version 1: 1, version 2: 1\"]') !== null")
	v.check("transit-versions")
	v.open("/ui/tenants")
	v.submit("form[action='/ui/do/tenants/resume']", nil)
	s.must(t, "POST", "transit/encrypt/downstream", encrypt, nil)

	v.open("/ui/xks")
	v.submit("form[action='/ui/do/xks/credential']", map[string]string{"mount": "xks", "store": "prod"})
	v.sees("XksProxyUriPath")
	v.check("xks-credential")
	v.open("/ui/xks")
	v.submit("form[action='/ui/do/xks/stop-key']", nil)
	v.sees("stopped")
	var key struct{ Data struct{ Disabled bool } }
	s.must(t, "GET", "xks/stores/prod/keys/orders", nil, &key)
	if !key.Data.Disabled {
		t.Error("the external key is not stopped")
	}
	v.submit("form[action='/ui/do/xks/start-key']", nil)
	v.sees("in use")
	v.submit("form[action='/ui/do/xks/stop-store']", nil)
	v.sees("InvalidStateException")
	v.submit("form[action='/ui/do/xks/start-store']", nil)
	v.sees("The store answers again.")

	v.open("/ui/keys")
	v.submit("form[action='/ui/do/keys/root']", nil)
	v.sees("The root key was renewed")
}
