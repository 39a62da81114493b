package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRotateBySudo is the table of who may rotate, by the real command line against the real
// server:
//
//	sys/rotate          sys/key-status    operator rotate
//	update, sudo        nothing           rotates, then a permission error for the status, code 2
//	update, sudo        read              rotates and shows the status, exit code 0
//	everything but sudo read              does not rotate, exit code 2
func TestRotateBySudo(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	root := r.root
	const may = `path "sys/rotate" { capabilities = ["update", "sudo"] }`
	const see = `path "sys/key-status" { capabilities = ["read"] }`
	for _, tc := range []struct {
		name, policy string
		code         int
		rotates      uint32
		refusedAt    string
	}{
		{"blind", may, 2, 1, "sys/key-status"},
		{"sighted", may + "\n" + see, 0, 1, ""},
		{"weak", `path "sys/rotate" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }` + "\n" + see,
			2, 0, "sys/rotate"},
	} {
		file := filepath.Join(r.Dir, tc.name+".hcl")
		if err := os.WriteFile(file, []byte(tc.policy), 0o600); err != nil {
			t.Fatal(err)
		}
		r.root = root
		r.run(0, "", "policy", "write", tc.name, file)
		if got, _ := r.run(0, "", "policy", "read", tc.name); strings.TrimSpace(got) != tc.policy {
			t.Errorf("%s: the policy reads back as %q", tc.name, got)
		}
		token, _ := r.run(0, "", "token", "create", "-policy="+tc.name, "-field=token")
		before := r.term()
		r.root = strings.TrimSpace(token)
		r.known.add("the token "+tc.name, r.root)
		out, errs := r.run(tc.code, "", "operator", "rotate")
		if tc.refusedAt != "" && (!strings.Contains(errs, "permission denied") ||
			!strings.Contains(errs, "/v1/"+tc.refusedAt) || !strings.Contains(errs, "403")) {
			t.Errorf("%s: %q %q; refused must be %s", tc.name, out, errs, tc.refusedAt)
		}
		r.root = root
		if after := r.term(); after != before+tc.rotates {
			t.Errorf("%s: the key term went from %d to %d; it was to grow by %d", tc.name, before, after, tc.rotates)
		}
	}
}

// term is the key term, as root sees it.
func (r *harness) term() uint32 {
	r.t.Helper()
	var status struct {
		Term uint32 `json:"term"`
	}
	r.decode(r.must(200, "GET", "sys/key-status", nil), &status)
	return status.Term
}

// TestTokensByCommand goes through a token's life by the command line.
func TestTokensByCommand(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	root := r.root
	var made struct {
		Auth struct {
			ClientToken string   `json:"client_token"`
			Accessor    string   `json:"accessor"`
			Policies    []string `json:"token_policies"`
		} `json:"auth"`
	}
	r.runJSON(&made, "", "token", "create", "-policy=default", "-ttl=1h", "-orphan", "-format=json")
	r.known.add("a token", made.Auth.ClientToken)
	if fmt.Sprint(made.Auth.Policies) != "[default]" {
		t.Errorf("the token's policies are %v", made.Auth.Policies)
	}
	r.root = made.Auth.ClientToken
	if out, _ := r.run(0, "", "token", "capabilities", "auth/token/lookup-self"); strings.TrimSpace(out) != "read" {
		t.Errorf("its capabilities: %q", out)
	}
	r.run(0, "", "token", "renew")
	if _, errs := r.run(2, "", "token", "create"); !strings.Contains(errs, "permission denied") {
		t.Errorf("making a token by the default policy: %q", errs)
	}
	r.root = root
	r.run(0, "", "token", "lookup", "-accessor", made.Auth.Accessor)
	r.run(0, "", "token", "revoke", "-accessor", made.Auth.Accessor)
	if _, errs := r.run(2, "", "token", "lookup", made.Auth.ClientToken); !strings.Contains(errs, "bad token") {
		t.Errorf("looking up a revoked token: %q", errs)
	}
	r.mustStop()
	r.mustStart()
	if _, errs := r.run(2, "", "token", "lookup", made.Auth.ClientToken); !strings.Contains(errs, "bad token") {
		t.Errorf("looking up a revoked token after a restart: %q", errs)
	}
}
