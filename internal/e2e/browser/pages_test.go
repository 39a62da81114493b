package browser

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/clients"
)

// pages are all pages that need no state of their own.
var pages = []string{
	"seals", "ceremonies", "transcript", "keys", "cluster", "snapshots", "audit", "tokens", "policies", "auth",
	"engines", "transit", "tenants", "xks", "gateways", "secrets/",
}

// useGateway makes a tenant, a store of AWS KMS, and the key of the KMS v2 socket.
func useGateway(t *testing.T, s *server, text string) {
	t.Helper()
	s.must(t, "POST", "sys/mounts/xks", map[string]any{"type": "xks"}, nil)
	s.must(t, "POST", "transit/keys/kube", map[string]any{}, nil)
	s.must(t, "POST", "sys/policies/acl/kube", map[string]any{"policy": `path "transit/*" { capabilities = ["update"] }`},
		nil)
	s.must(t, "POST", "xks/stores/prod", map[string]any{"prefix": "/store-prod", "policies": "kube", "description": text,
		"health_key": "transit/kube"}, nil)
	s.must(t, "POST", "xks/stores/prod/credentials", nil, nil)
	s.must(t, "POST", "xks/stores/prod/keys/orders", map[string]any{"key": "transit/kube"}, nil)
	record, err := clients.Tenant{Mount: "transit", Key: "downstream", Client: text, Auth: "token"}.Line()
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, "POST", "sys/policies/acl/tenant-acme", map[string]any{"policy": record +
		`path "transit/encrypt/downstream" { capabilities = ["update"] }`}, nil)
}

// TestPages looks at every page in both colour schemes and at 320 pixels.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice", "bob", "carol")
	s.must(t, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}, nil)
	s.must(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"}, nil)
	s.must(t, "POST", "transit/keys/downstream", map[string]any{}, nil)
	useGateway(t, s, "openbao")
	v := newVisitor(t, newBrowser(t), s.URL())
	for _, one := range []string{"", "login", "ceremony", "ceremony/recovery", "prove", "unseal"} {
		v.open("/ui/" + one)
		v.check("stranger-" + fileName(one))
	}
	v.login(s.root)
	for _, one := range pages {
		v.open("/ui/" + one)
		eval[int](v, "opening the forms", "document.querySelectorAll('details').forEach(d => d.open = true), 0")
		v.check(fileName(one))
	}
	v.open("/ui/seals")
	v.sees("If every node restarted now")
	v.sees("Policy: ")
	v.open("/ui/gateways")
	v.sees("encrypts and decrypts")
	v.open("/ui/nowhere")
	v.sees("There is no such page")
	v.check("not-found")
}

func fileName(path string) string {
	if path == "" {
		return "status"
	}
	return strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
}

// TestSecrets uses the pages for secrets: writing, versions, a comparison, and a conflict.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.must(t, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}, nil)
	v := newVisitor(t, newBrowser(t), s.URL())
	v.login(s.root)
	v.open("/ui/secrets/kv/")
	v.submit("form:has(#name)", map[string]string{"name": "team a/app"})
	v.sees("There is no secret of this name yet")
	write := "form:has(#data)"
	v.submit(write, map[string]string{"data": `{"user": "app", "password": "one"}`})
	v.sees("Saved.")
	v.submit(write, map[string]string{"data": `{"user": "app", "password": "two", "port": 1}`})
	v.sees("Version 2")
	v.check("secret")
	v.submit(write, map[string]string{"data": `{"user": `})
	v.sees("The data is not a JSON object")
	v.open("/ui/secrets/kv/team%20a/app?version=2&with=1")
	v.sees("Changes from version 1 to 2")
	v.check("secret-compared")

	v.open("/ui/secrets/kv/team%20a/app")
	s.must(t, "POST", "kv/data/team a/app", map[string]any{"data": map[string]any{"password": "three"}}, nil)
	v.submit(write, map[string]string{"data": `{"password": "mine"}`})
	v.sees("Somebody else saved a newer version")
	v.check("secret-conflict")
	var out struct{ Data struct{ Data map[string]any } }
	s.must(t, "GET", "kv/data/team a/app", nil, &out)
	if out.Data.Data["password"] != "three" {
		t.Errorf("the conflict overwrote the other's version: %v", out.Data.Data)
	}
	v.submit(write, map[string]string{"data": `{"password": "mine"}`})
	v.sees("Version 4")
}

// TestOperatorActs does what operators do on their pages.
func TestOperatorActs(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice", "bob", "carol")
	browser := newBrowser(t)
	v := newVisitor(t, browser, s.URL())
	v.login(s.root)
	v.open("/ui/keys")
	v.submit("form[action='/ui/do/keys/rotate']", nil)
	v.sees("The data key was rotated")
	v.sees("Term 2")
	v.sees("What is stored under each term")
	v.submit("form[action='/ui/do/keys/rewrap']", nil)
	v.sees("The rewrap has begun.")
	v.sees("Rewrap of the data: done") // the page refreshes its state
	v.submit("form[action='/ui/do/keys/retire']", map[string]string{"confirm": "destroy"})
	v.sees("The older terms are being destroyed.")
	v.sees("Destroyed terms")
	v.open("/ui/policies")
	v.submit("form[action='/ui/do/policies/save']", map[string]string{"name": "reader",
		"policy": `path "kv/data/*" { capabilities = ["read"] }`})
	v.sees("The policy is saved.")
	v.open("/ui/tokens")
	v.submit("form[action='/ui/do/tokens/create']", map[string]string{"policies": "reader", "display_name": "ci"})
	v.sees("It is shown once.")
	token, accessor := v.texts("pre.share-out")[0], v.texts("section[role=status] p code")[0]
	v.check("token-created")
	v.open("/ui/policies")
	v.submit("form[action='/ui/do/policies/test']", map[string]string{"accessor": accessor, "path": "kv/data/app"})
	v.sees("the token may: read")
	v.sees("The rule for kv/data/* decides, in reader.")
	v.check("policy-tested")

	weak := newVisitor(t, browser, s.URL())
	weak.login(token)
	weak.open("/ui/keys")
	weak.sees("Your token may not do this.")
	eval[int](weak, "opening the forms", "document.querySelectorAll('details').forEach(d => d.open = true), 0")
	weak.sees(`path "sys/rotate"`)
	weak.sees(`capabilities = ["update", "sudo"]`)
	weak.check("keys-denied")
	v.open("/ui/audit")
	v.submit("form[action='/ui/do/audit/enable']", map[string]string{"path": "bad", "file_path": "/etc/shadow"})
	v.open(strings.TrimPrefix(eval[string](v, "the link to help", "document.querySelector('.bad a').href"), s.URL()))
	v.sees("Matching Route: /sys/audit/")
	v.check("help")
}

// TestStoredNamesAreText stores markup wherever a name can be stored, and looks at every page.
func TestStoredNamesAreText(t *testing.T) {
	t.Parallel()
	hostile := `"><img src=x onerror=alert(1)><script>alert(2)</script>`
	s := newServer(t, hostile, "bob", "carol")
	s.must(t, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "description": hostile,
		"options": map[string]any{"version": "2"}}, nil)
	s.must(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"}, nil)
	s.must(t, "POST", "transit/keys/downstream", map[string]any{}, nil)
	useGateway(t, s, hostile)
	s.must(t, "POST", "sys/auth/up", map[string]any{"type": "userpass", "description": hostile}, nil)
	s.must(t, "POST", "sys/audit/out", map[string]any{"type": "file", "description": hostile,
		"options": map[string]any{"file_path": "discard"}}, nil)
	s.must(t, "POST", "sys/policies/acl/"+`<img src=x onerror=alert(3)>`, map[string]any{
		"policy": "# " + hostile + "\npath \"x\" { capabilities = [\"read\"] }"}, nil)
	s.must(t, "POST", "auth/token/create", map[string]any{"display_name": hostile, "policies": []string{"default"}},
		nil)
	s.must(t, "POST", "kv/data/"+`<img src=x onerror=alert(4)>`,
		map[string]any{"data": map[string]any{hostile: hostile}}, nil)
	s.must(t, "PUT", "sys/rekey-recovery-key/init", map[string]any{"secret_shares": 1, "secret_threshold": 1,
		"holders": []string{hostile}}, nil)
	v := newVisitor(t, newBrowser(t), s.URL())
	v.login(s.root)
	paths := []string{"", "ceremony", "ceremony/recovery", "prove",
		"policies?name=%3Cimg%20src%3Dx%20onerror%3Dalert(3)%3E",
		"transcript?record=%3Cimg%20src=x%20onerror=alert(6)%3E", "transit?key=%3Cimg%20src=x%20onerror=alert(7)%3E/x",
		"secrets/kv/", "secrets/kv/%3Cimg%20src=x%20onerror=alert(4)%3E", "login?next=javascript:alert(5)"}
	for _, one := range append(paths, pages...) {
		v.open("/ui/" + one)
		if images := eval[int](v, "counting", "document.querySelectorAll('img, main script').length"); images > 0 {
			t.Errorf("/ui/%s has %d elements out of stored names", one, images)
		}
		v.clean("/ui/" + one)
	}
}
