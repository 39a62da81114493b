package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cli runs a client command with a token, and checks its exit code.
func (r *harness) cli(code int, token string, args ...string) Result {
	r.t.Helper()
	res, err := r.CLI(r.t.Context(), token, "", args...)
	if err != nil || res.Code != code {
		r.t.Fatalf("sealgate %s: exit code %d, not %d: %v\n%s%s", strings.Join(args, " "), res.Code, code, err, res.Out,
			res.Err)
	}
	return res
}

type addedTenant struct {
	Accessor, Token, Stanza string
	RoleID                  string `json:"role_id"`
	SecretID                string `json:"secret_id"`
}

func (r *harness) addTenant(args ...string) addedTenant {
	r.t.Helper()
	var out addedTenant
	res := r.cli(0, r.root, append([]string{"operator", "tenant", "add", "-format=json"}, args...)...)
	if err := json.Unmarshal([]byte(res.Out), &out); err != nil {
		r.t.Fatal(err, res.Out)
	}
	for what, secret := range map[string]string{"the tenant's token": out.Token, "the secret id": out.SecretID} {
		if secret != "" {
			r.known.add(what, secret)
		}
	}
	return out
}

var letter = map[string]string{"plaintext": "YQ=="}

// TestTenant makes tenants, uses their credentials, suspends one and resumes it.
func TestTenant(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()

	// Interrupted runs: the mount alone is there, then mount, key and a tenant without a credential.
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	acme := r.addTenant("acme")
	for _, want := range []string{`seal "transit"`, r.URL(), `key_name   = "acme"`, acme.Token} {
		if !strings.Contains(acme.Stanza, want) {
			t.Errorf("%q is not in the stanza:\n%s", want, acme.Stanza)
		}
	}
	policy := r.data(200, "GET", "sys/policies/acl/tenant-acme", nil)["policy"].(string)
	r.must(204, "PUT", "sys/policies/acl/tenant-acme", map[string]string{
		"policy": strings.Replace(policy, `"accessor":"`+acme.Accessor+`"`, `"accessor":""`, 1),
	})
	second := r.addTenant("acme")
	if second.Token == "" || second.Token == acme.Token {
		t.Error("a run after an interruption made no token")
	}
	if third := r.addTenant("acme"); third.Token != "" || third.Accessor != second.Accessor {
		t.Errorf("a complete tenant got another token: %v", third.Accessor)
	}

	// Least rights.
	encrypted := r.as(second.Token).must(200, "PUT", "transit/encrypt/acme", letter)
	if strings.Contains(string(encrypted.Body), "warnings\":[") {
		t.Errorf("%s", encrypted.Body)
	}
	r.as(second.Token).must(200, "PUT", "auth/token/renew-self", map[string]int{"increment": 0})
	for _, path := range []string{"transit/encrypt/other", "transit/keys/acme/rotate", "transit/keys/acme/config",
		"auth/token/create", "transit/export/encryption-key/acme"} {
		r.as(second.Token).must(403, "PUT", path, map[string]string{"plaintext": "YQ=="})
	}

	// The kill switch.
	list := func(name string) map[string]any {
		t.Helper()
		var all []map[string]any
		if err := json.Unmarshal([]byte(r.cli(0, r.root, "operator", "tenant", "list", "-format=json").Out),
			&all); err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one["tenant"] == name {
				return one
			}
		}
		t.Fatalf("%s is not in the list: %v", name, all)
		return nil
	}
	got := list("acme")
	if uses := got["used_versions"].([]any); got["state"] != "active" || len(uses) != 1 ||
		uses[0].(map[string]any)["last_display_name"] != "token-acme" {
		t.Errorf("%v", got)
	}
	if table := r.cli(0, r.root, "operator", "tenant", "list").Out; !strings.Contains(table, "1 of 1 ") ||
		strings.Contains(table, "never") {
		t.Errorf("%s", table)
	}
	r.cli(0, r.root, "operator", "tenant", "suspend", "acme")
	if reply := r.as(second.Token).must(400, "PUT", "transit/encrypt/acme", letter); !strings.Contains(reply.Errors(),
		"refusing to use soft-deleted key") {
		t.Errorf("%s", reply.Body)
	}
	if got = list("acme"); got["state"] != "suspended" {
		t.Errorf("%v", got)
	}
	if res := r.cli(2, r.root, "operator", "tenant", "add", "acme"); !strings.Contains(res.Err, "suspended") {
		t.Errorf("%s", res.Err)
	}
	r.cli(0, r.root, "operator", "tenant", "resume", "acme")
	r.as(second.Token).must(200, "PUT", "transit/encrypt/acme", letter)

	// Refusals.
	r.cli(2, r.root, "operator", "tenant", "add", "thief", "-key=acme")
	r.cli(2, r.root, "operator", "tenant", "add", "acme", "-mount=elsewhere")
	r.cli(2, r.root, "operator", "tenant", "suspend", "nobody")
	r.cli(1, r.root, "operator", "tenant", "add", "../x")
	r.must(204, "PUT", "sys/policies/acl/tenant-mine", map[string]string{"policy": `path "a" { capabilities = ["read"] }`})
	r.cli(2, r.root, "operator", "tenant", "add", "mine")
	for _, record := range []string{`{"mount":"sys","key":"x/../y","client":"openbao","auth":"token"}`,
		`{"mount":"transit","key":"\u001b[2J","client":"openbao","auth":"token"}`,
		`{"mount":"transit","key":"k","client":"openbao","auth":"none"}`} {
		r.must(204, "PUT", "sys/policies/acl/tenant-mine", map[string]string{
			"policy": "# sealgate-tenant: " + record + "\npath \"a\" { capabilities = [\"read\"] }"})
		r.cli(2, r.root, "operator", "tenant", "suspend", "mine")
		if out := r.cli(0, r.root, "operator", "tenant", "list").Out; strings.Contains(out, "mine") {
			t.Errorf("a record that is none is listed:\n%s", out)
		}
	}
}

// TestTenantCredentials makes a tenant with AppRole, and one whose secret goes to a file.
func TestTenantCredentials(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	role := r.addTenant("robot", "-auth=approle", "-client=sops", "-mount=kms")
	var login struct {
		Auth struct {
			Token    string `json:"client_token"`
			Policies []string
		}
	}
	r.decode(r.must(200, "POST", "auth/approle/login", map[string]string{"role_id": role.RoleID,
		"secret_id": role.SecretID}), &login)
	r.known.add("the robot's token", login.Auth.Token)
	if len(login.Auth.Policies) != 1 || login.Auth.Policies[0] != "tenant-robot" {
		t.Errorf("policies of the token: %v", login.Auth.Policies)
	}
	r.as(login.Auth.Token).must(200, "PUT", "kms/encrypt/robot", letter)
	if again := r.addTenant("robot"); again.SecretID != "" || again.RoleID != role.RoleID {
		t.Error("a complete tenant got another secret id")
	}
	if again := r.addTenant("robot", "-new-credential"); again.SecretID == "" || again.SecretID == role.SecretID {
		t.Error("-new-credential made no secret id")
	}

	file := filepath.Join(r.Dir, "vault.hcl")
	if err := os.WriteFile(file, []byte("an old one, for all to read"), 0o644); err != nil {
		t.Fatal(err)
	}
	res := r.cli(0, r.root, "operator", "tenant", "add", "vault", "-client=vault", "-out=vault.hcl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`token +.= "([^"]+)"`).FindStringSubmatch(strings.ReplaceAll(string(text),
		"token  ", "token "))
	if token == nil || strings.Contains(res.Out+res.Err, token[1]) {
		t.Fatalf("the file has no token, or the output shows it:\n%s%s", res.Out, res.Err)
	}
	r.as(token[1]).must(200, "PUT", "transit/encrypt/vault", letter)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.Remove(file); err != nil { // the harness looks for secrets in files
		t.Fatal(err)
	}
}

// TestTenantOfDeviceKey makes a tenant whose key stays in the HSM, on a mount that may not use it
// yet.
func TestTenantOfDeviceKey(t *testing.T) {
	t.Parallel()
	r := newDeviceHarness(t, nil)
	made := r.addTenant("vault", "-mount=kms", "-managed-key=orders", "-client=vault")
	r.as(made.Token).must(200, "PUT", "kms/encrypt/vault", letter)
	if got := r.data(200, "GET", "kms/keys/vault", nil)["type"]; got != "managed_key" {
		t.Errorf("the key is of type %v", got)
	}
	r.addTenant("vault", "-managed-key=orders") // again
}

// TestDoctorClient checks tokens for clients that they suffice for, and for others.
func TestDoctorClient(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/app", map[string]string{})
	r.must(200, "POST", "transit/keys/signer", map[string]string{"type": "ecdsa-p256"})
	token := func(policy string, bare bool) string {
		t.Helper()
		r.must(204, "PUT", "sys/policies/acl/c", map[string]string{"policy": policy})
		var made struct {
			Auth struct {
				Token string `json:"client_token"`
			}
		}
		r.decode(r.must(200, "POST", "auth/token/create-orphan", map[string]any{"policies": []string{"c"},
			"no_default_policy": bare}), &made)
		r.known.add("a client's token", made.Auth.Token)
		return made.Auth.Token
	}
	template := func(client, key string) string {
		return r.cli(0, "", "policy", "template", client, "-key="+key).Out
	}
	// With the printed policy each client works, with the default policy and without it.
	for client, key := range map[string]string{"sops": "app", "opentofu": "app", "spring": "app", "cosign": "signer",
		"openbao": "app", "sealgate": "app", "hvac": "app"} {
		for _, bare := range []bool{true, false} {
			who := token(template(client, key), bare)
			res := r.cli(0, who, "doctor", "client", client, "-key="+key)
			if !strings.Contains(res.Out, "would work") {
				t.Errorf("%s\n%s", client, res.Out)
			}
		}
	}
	// Without a line, the line is named.
	for _, bare := range []bool{true, false} {
		who := token(`path "transit/encrypt/app" { capabilities = ["update"] }`, bare)
		res := r.cli(2, who, "doctor", "client", "sops", "-key=app")
		if !strings.Contains(res.Out, `path "transit/decrypt/app" { capabilities = ["update"] }`) {
			t.Errorf("%s", res.Out)
		}
	}
	// A key that is missing is named, and is not made.
	res := r.cli(2, r.root, "doctor", "client", "sops", "-key=absent")
	if !strings.Contains(res.Out, "the key does not exist") {
		t.Errorf("%s", res.Out)
	}
	r.must(404, "GET", "transit/keys/absent", nil)
	r.cli(1, r.root, "doctor", "client", "nothing")
	if res := r.cli(2, r.root, "doctor", "client", "sops", "-mount=nowhere"); !strings.Contains(res.Out,
		"no secrets engine") {
		t.Errorf("%s", res.Out)
	}
}
