//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// transitHarness is a server whose seal is a key of an OpenBao server's transit engine, with its
// token in a file.
type transitHarness struct {
	*harness
	bao       *openbao.Server
	tokenFile string
	token     string
}

func newTransitHarness(t *testing.T) *transitHarness {
	t.Helper()
	bao := openbao.Start(t)
	bao.Mount("transit")
	bao.Key("transit", "autounseal", "")
	bao.Policy("autounseal", `path "transit/encrypt/autounseal" { capabilities = ["update"] }
path "transit/decrypt/autounseal" { capabilities = ["update"] }
path "transit/keys/autounseal" { capabilities = ["read"] }
path "transit/keys/autounseal/rotate" { capabilities = ["update"] }`)
	dir := t.TempDir()
	p := &transitHarness{bao: bao, tokenFile: filepath.Join(dir, "token")}
	p.harness = newHarness(t, dir,
		fmt.Sprintf("seal \"transit\" \"peer\" {\n  address = \"http://%s\"\n  mount_path = \"transit/\"\n  key_name "+
			"= \"autounseal\"\n"+
			"  token = \"file://%s\"\n  timeout = \"4s\"\n}\n", bao.Addr, p.tokenFile))
	p.newToken()
	return p
}

// newToken puts another token in the file.
func (p *transitHarness) newToken() {
	p.t.Helper()
	p.token = p.bao.Token("autounseal", "1h")
	p.known.add("the transit token", p.token)
	if err := os.WriteFile(p.tokenFile+".new", []byte(p.token+"\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.tokenFile+".new", p.tokenFile); err != nil {
		p.t.Fatal(err)
	}
}

// versions are the key versions that what is stored needs.
func (p *transitHarness) versions() string {
	p.t.Helper()
	var st struct {
		Seals []struct {
			Needed []struct {
				Version string `json:"key_version"`
			} `json:"needed_keys"`
		}
	}
	if err := json.Unmarshal(p.must(200, "GET", "sys/seal-status", nil).Body, &st); err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, s := range st.Seals {
		for _, n := range s.Needed {
			out = append(out, n.Version)
		}
	}
	return strings.Join(out, " ")
}

// TestTransitSeal covers the life of a server with that seal: it unseals after a kill, keeps
// serving while the other server is down, unresponsive or sealed, follows key rotation and token
// replacement, and reports each of them.
func TestTransitSeal(t *testing.T) {
	t.Parallel()
	p := newTransitHarness(t)
	p.mustStart()
	p.mustInit()
	p.mustPut("a", "1")
	p.until(patience, "proven", would)
	if got := p.versions(); got != "v1" {
		t.Errorf("what is stored needs the versions %q", got)
	}
	p.restart(func() {})

	for name, outage := range map[string]struct {
		off, on func()
		class   string
		words   []string
	}{
		"down":         {p.bao.Stop, p.bao.Restart, "unreachable", []string{"reachable from this host"}},
		"unresponsive": {p.bao.Pause, p.bao.Resume, "unreachable", []string{"answer"}},
		"refused": {func() { p.bao.Revoke(p.token) }, p.newToken, "denied",
			[]string{"403", "transit/decrypt/autounseal", "replace the token"}},
		"gone": {func() { p.bao.Must("DELETE", "transit/keys/autounseal/soft-delete", nil) },
			func() { p.bao.Must("POST", "transit/keys/autounseal/soft-delete-restore", nil) }, "key disabled",
			[]string{"soft-delete-restore"}},
	} {
		outage.off()
		p.until(patience, name+": reporting that it would not unseal", wouldNot)
		p.eventually(patience, name+": telling why", func() bool { return p.status().Seals[0].Class == outage.class })
		p.failing(outage.class, outage.words...)
		p.mustPut("b", name)
		p.mustGet("a", "1")
		if reply := p.call("PUT", "sys/rotate/root", nil); reply.Code != 503 && reply.Code != 500 {
			t.Errorf("%s: rotating the root key: %d %s", name, reply.Code, reply.Body)
		}
		outage.on()
		p.until(patience, name+": well again", would)
		p.must(204, "PUT", "sys/rotate/root", nil)
	}

	p.restart(func() { p.bao.Rotate("transit", "autounseal") })
	p.eventually(patience, "wrapped by the new version", func() bool { return p.versions() == "v2" })
	reply := p.must(200, "PUT", "sys/seals/rotate-key", map[string]string{"name": "peer"})
	if got := p.versions(); got != "v3" || !strings.Contains(string(reply.Body), "need version v2") {
		t.Errorf("after rotate-key: version %s, %s", got, reply.Body)
	}
	p.bao.Must("POST", "transit/keys/autounseal/config", map[string]int{"min_decryption_version": 3})
	p.restart(func() {})

	// A server that starts while the other one is sealed waits for it.
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	p.bao.Must("PUT", "sys/seal", nil)
	p.mustStart()
	p.eventually(patience, "telling why it is sealed", func() bool { return p.status().Seals[0].Class == "unreachable" })
	p.failing("unreachable", "503", "unseal the server of the transit engine")
	p.bao.Stop()
	p.bao.Restart()
	p.until(patience, "unsealed automatically", unsealed)
	p.mustGet("a", "1")
}

// restart kills the server, and starts it again after something has happened; it must unseal
// itself.
func (p *transitHarness) restart(meanwhile func()) {
	p.t.Helper()
	if err := p.Kill(); err != nil {
		p.t.Fatal(err)
	}
	meanwhile()
	p.mustStart()
	p.until(patience, "unsealed automatically", unsealed)
	p.mustGet("a", "1")
	p.until(patience, "proven", would)
}
