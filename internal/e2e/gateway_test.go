//go:build unix

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// gatewayPolicy is what an OpenBao or Vault with `seal "transit"` needs of the server that it
// unseals through.
const gatewayPolicy = `path "transit/encrypt/autounseal" { capabilities = ["update"] }
path "transit/decrypt/autounseal" { capabilities = ["update"] }`

// newGateway is a server with a transit key that another cluster may use, and that cluster's token.
func newGateway(t *testing.T) (r *harness, token string) {
	t.Helper()
	r = newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	return r, r.offerKey()
}

// offerKey makes a transit key that another cluster may use, and returns that cluster's token.
func (r *harness) offerKey() (token string) {
	r.t.Helper()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/autounseal", map[string]string{})
	r.must(204, "PUT", "sys/policies/acl/autounseal", map[string]string{"policy": gatewayPolicy})
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	r.decode(r.must(200, "POST", "auth/token/create-orphan", map[string]any{
		"policies": []string{"autounseal"}, "period": "24h", "renewable": true, "display_name": "downstream",
	}), &made)
	r.known.add("the downstream's token", made.Auth.Token)
	return made.Auth.Token
}

// TestDownstreamOpenBao has a real OpenBao unseal through this server: it is initialised, killed,
// started again with the key rotated meanwhile, and started while this server is down.
func TestDownstreamOpenBao(t *testing.T) {
	t.Parallel()
	r, token := newGateway(t)
	bao := openbao.StartSealed(t,
		fmt.Sprintf("seal \"transit\" {\n  address = %q\n  token = %q\n  key_name = \"autounseal\"\n"+
			"  mount_path = \"transit/\"\n}\n", r.URL(), token))
	bao.Mount("inner")
	bao.Key("inner", "k", "")
	ciphertext := bao.Must("POST", "inner/encrypt/k", map[string]string{"plaintext": "aGVsbG8="})["ciphertext"]
	unsealed := func() {
		t.Helper()
		if got := bao.Must("POST", "inner/decrypt/k",
			map[string]any{"ciphertext": ciphertext})["plaintext"]; got != "aGVsbG8=" {
			t.Fatalf("the downstream decrypts to %v", got)
		}
	}

	bao.Stop() // it is killed
	bao.Restart()
	unsealed()

	// The key gets a version; the downstream takes it at its next start, and still reads what the old
	// one has sealed.
	r.must(200, "POST", "transit/keys/autounseal/rotate", nil)
	bao.Stop()
	bao.Restart()
	unsealed()
	if uses := r.uses("autounseal"); uses["2"] == nil || uses["2"]["last_display_name"] != "token-downstream" {
		t.Errorf("uses of the key: %v", uses)
	}

	// Now the first version may go: the downstream has sealed its keys anew.
	r.must(200, "POST", "transit/keys/autounseal/config", map[string]int{"min_decryption_version": 2,
		"min_encryption_version": 2})
	r.must(200, "POST", "transit/keys/autounseal/trim", map[string]int{"min_available_version": 2})
	bao.Stop()

	// This server is killed too, and both come back.
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	bao.Restart()
	unsealed()
}

// uses is the census of a key.
func (r *harness) uses(key string) map[string]map[string]any {
	r.t.Helper()
	var out struct {
		Data struct{ Versions map[string]map[string]any }
	}
	r.decode(r.must(200, "GET", "transit/keys/"+key+"/use", nil), &out)
	return out.Data.Versions
}

// TestChainOfSealgates unseals one server through another's transit engine.
func TestChainOfSealgates(t *testing.T) {
	t.Parallel()
	upper, token := newGateway(t)
	upper.must(204, "PUT", "sys/policies/acl/autounseal", map[string]string{
		"policy": gatewayPolicy + "\npath \"transit/keys/autounseal\" { capabilities = [\"read\"] }",
	})
	lower := newHarness(t, t.TempDir(),
		fmt.Sprintf("seal \"transit\" \"upper\" {\n  address = %q\n  token = %q\n  key_name = \"autounseal\"\n"+
			"  mount_path = \"transit/\"\n}\n", upper.URL(), token))
	lower.known.add("the downstream's token", token)
	lower.mustStart()
	lower.mustInit()
	lower.mustPut("a", "secret of the lower server")
	if err := lower.Kill(); err != nil {
		t.Fatal(err)
	}
	lower.mustStart()
	if err := lower.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	lower.mustGet("a", "secret of the lower server")
	want := upper.clusterID()
	lower.eventually(patience, "naming the upper server", func() bool {
		got := lower.through()
		return len(got) == 1 && got[0] == want
	})
	if got := upper.through(); len(got) != 0 {
		t.Errorf("the upper server unseals through %v", got)
	}
}

// through waits for a proof of the seals, and returns the clusters that the server unseals through.
func (r *harness) through() []string {
	r.t.Helper()
	r.until(patience, "proven", would)
	var out struct {
		Through []string `json:"unseals_through"`
	}
	r.decode(r.as("").must(200, "GET", "sys/seal-status", nil), &out)
	return out.Through
}

func (r *harness) clusterID() string {
	r.t.Helper()
	h, _, err := r.Health(r.t.Context())
	if err != nil || h.ClusterID == "" {
		r.t.Fatalf("no cluster id: %v", err)
	}
	return h.ClusterID
}

func transitStanza(name string, up *harness, token string) string {
	return fmt.Sprintf("seal \"transit\" %q {\n  address = %q\n  token = %q\n  key_name = \"autounseal\"\n"+
		"  mount_path = \"transit/\"\n}\n", name, up.URL(), token)
}

// TestLoopOfSealgates has two servers unseal through each other: both warn while they still run,
// and doctor finds it. A loop through a seal that is not needed is none.
func TestLoopOfSealgates(t *testing.T) {
	t.Parallel()
	a, tokenOfA := newGateway(t)
	b := newHarness(t, t.TempDir(), transitStanza("a", a, tokenOfA))
	b.mustStart()
	b.mustInit()
	tokenOfB := b.offerKey()
	for _, r := range []*harness{a, b} {
		r.known.add("the token of a downstream", tokenOfA)
		r.known.add("the token of a downstream", tokenOfB)
	}
	restart := func(config string) {
		t.Helper()
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := a.WriteConfig(config + socketListener); err != nil {
			t.Fatal(err)
		}
		a.mustStart()
		if err := a.UntilUnsealed(); err != nil {
			t.Fatal(err)
		}
	}
	through := transitStanza("b", b, tokenOfB)
	restart(Config(a.Addr, staticSeal) + through)
	a.until(patience, "proven", would)
	added := string(a.must(200, "POST", "sys/seals/add", map[string]string{"name": "b"}).Body)
	if !strings.Contains(added, `"done":true`) {
		t.Fatalf("adding the seal: %s", added)
	}
	if got := a.through(); len(got) != 0 {
		t.Errorf("a server with another seal unseals through %v", got)
	}
	restart(Config(a.Addr, through))
	loop := a.clusterID()
	for _, r := range []*harness{a, b} {
		r.eventually(patience, "telling of the loop", func() bool {
			return strings.Contains(r.Log(), "this cluster unseals through a cluster that unseals through this one")
		})
	}
	if got := b.through(); len(got) < 2 || got[0] != loop || got[1] != b.clusterID() {
		t.Errorf("the lower server unseals through %v", got)
	}
	for _, r := range []*harness{a, b} {
		res := r.cli(2, "", "doctor", "-config=sealgate.hcl")
		if !strings.Contains(res.Out, "once both are sealed, neither can unseal") {
			t.Errorf("doctor does not report the loop:\n%s", res.Out)
		}
	}
}
