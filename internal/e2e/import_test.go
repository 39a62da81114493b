package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// importReport is the JSON of an import's report.
type importReport struct {
	Complete bool
	Error    string
	Counts   map[string]map[string]int
	Items    []struct {
		Kind, Path, Outcome, Reason string
		Notes                       []string
	}
}

// changed counts what an import wrote.
func (i importReport) changed() (n int) {
	for _, by := range i.Counts {
		n += by["created"] + by["updated"]
	}
	return n
}

// outcome returns the outcome and the texts of an item.
func (i importReport) outcome(t *testing.T, kind, path string) (outcome, texts string) {
	t.Helper()
	for _, one := range i.Items {
		if one.Kind == kind && one.Path == path {
			return one.Outcome, one.Reason + strings.Join(one.Notes, "; ")
		}
	}
	t.Fatalf("the report has no %s %s: %+v", kind, path, i.Items)
	return "", ""
}

// migration is an OpenBao whose content moves to a Sealgate.
type migration struct {
	*harness
	bao *openbao.Server
}

func newMigration(t *testing.T) *migration {
	t.Helper()
	m := &migration{harness: newStaticHarness(t)}
	var starting sync.WaitGroup
	starting.Go(func() {
		m.mustStart()
		m.mustInit()
	})
	m.bao = openbao.StartSealed(t, "seal \"static\" {\n  current_key_id = \"k\"\n  current_key = \""+
		strings.Repeat("5c", 32)+"\"\n}\nraw_storage_endpoint = true\n")
	starting.Wait()
	m.Env = append(m.Env, "BAO_MAX_RETRIES=0")
	return m
}

// bring runs the import from an address with a token; it must end with the exit code.
func (m *migration) bring(code int, addr, token string, more ...string) (out importReport, errs string) {
	m.t.Helper()
	args := append([]string{"import", "openbao", "-format=json", "-source-address=http://" + addr, "-source-token-file=-",
		"-rate=0"}, more...)
	res, err := m.CLI(m.t.Context(), m.root, token, args...)
	if err != nil || res.Code != code {
		m.t.Fatalf("%v: exit code %d, not %d: %v\n%s%s", args, res.Code, code, err, res.Out, res.Err)
	}
	if code != 1 {
		if err := json.Unmarshal([]byte(res.Out), &out); err != nil {
			m.t.Fatalf("%v: %s", err, res.Out)
		}
	}
	return out, res.Err
}

// source sends a request to the source.
func (m *migration) source(method, path string, body any) map[string]any {
	m.t.Helper()
	return m.bao.Must(method, path, body)
}

// TestImport brings everything that an import knows from OpenBao.
func TestImport(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	ciphers := m.fill()
	m.known.add("a secret of the source", "correct-horse-17")
	m.known.add("a password of the source", "swordfish-of-bob")
	before := m.data(200, "GET", "sys/mounts", nil)

	// Neither a wrong token, nor a dry run, nor the server itself changes anything.
	if _, errs := m.bring(2, m.bao.Addr, "s.wrong"); !strings.Contains(errs, "the source: permission denied") {
		t.Errorf("a wrong token: %s", errs)
	}
	if _, errs := m.bring(1, m.Addr, m.root); !strings.Contains(errs, "the same cluster") {
		t.Errorf("the server itself: %s", errs)
	}
	dry, _ := m.bring(2, m.bao.Addr, m.bao.Root, "-dry-run")
	if after := m.data(200, "GET", "sys/mounts", nil); !reflect.DeepEqual(before, after) || dry.changed() < 30 {
		t.Errorf("a dry run: %v became %v; %v", before, after, dry.Counts)
	}

	first, _ := m.bring(2, m.bao.Addr, m.bao.Root, "-password-hashes", "-report=report.json")
	file, err := os.ReadFile(filepath.Join(m.Dir, "report.json"))
	if err != nil || !strings.Contains(string(file), `"path": "secret/app"`) {
		t.Errorf("the report file: %v\n%s", err, file)
	}
	if n := first.changed(); n != dry.changed() {
		t.Errorf("%d items were changed, %d were announced: %v", n, dry.changed(), first.Counts)
	}
	for _, by := range first.Counts {
		if by["failed"]+by["differs"] > 0 {
			t.Errorf("failures: %+v", first.Items)
		}
	}
	m.checkKV(first)
	m.checkTransit(first, ciphers)
	m.checkAuth(first)

	second, _ := m.bring(2, m.bao.Addr, m.bao.Root, "-password-hashes")
	if n := second.changed(); n > 0 || second.Counts["secret"]["same"] != first.Counts["secret"]["created"] {
		t.Errorf("a second run changed %d items: %+v", n, second.Items)
	}
	m.bring(0, m.bao.Addr, m.bao.Root, "-password-hashes", "-allow-missing")
	m.checkOverwrite()
}

// mountVersioned mounts kv version 2 at the source, which needs a moment to be ready.
func (m *migration) mountVersioned() {
	m.t.Helper()
	m.source("POST", "sys/mounts/secret", fields{"type": "kv", "options": fields{"version": "2"}})
	testkit.Eventually(m.t, "kv version 2 of the source is ready", func() bool {
		return m.bao.Serves("secret/config")
	})
}

// fill makes the inventory of the source. It returns texts that its transit keys have encrypted.
func (m *migration) fill() map[string]string {
	src := m.source
	src("POST", "sys/mounts/plain", fields{"type": "kv", "options": fields{"version": "1"}, "description": "old secrets",
		"config": fields{"max_lease_ttl": "2h", "listing_visibility": "unauth"}})
	src("POST", "plain/a/b%20c/d%3F%25", fields{"big": json.Number("123456789012345678901"),
		"text": "correct-horse-17 <&>"})
	m.mountVersioned()
	src("POST", "secret/config", fields{"max_versions": 6})
	src("POST", "secret/data/app", fields{"data": fields{"v": "correct-horse-17"}})
	for n := range 9 { // versions 1 to 3 fall out
		src("POST", "secret/data/deep/er/versions", fields{"data": fields{"n": n + 1}})
	}
	src("POST", "secret/delete/deep/er/versions", fields{"versions": []int{7}})
	src("POST", "secret/destroy/deep/er/versions", fields{"versions": []int{5}})
	src("POST", "secret/metadata/deep/er/versions", fields{"custom_metadata": fields{"owner": "ops"}, "cas_required": true,
		"max_versions": 4, "delete_version_after": "30h"})
	src("POST", "secret/metadata/empty", fields{"custom_metadata": fields{"only": "metadata"}})

	src("PUT", "sys/policies/acl/app", fields{"policy": `path "secret/data/app" { capabilities = ["read"] }`})
	src("PUT", "sys/policies/password/long", fields{"policy": "length = 24\nrule \"charset\" { charset = \"abcdef\" }"})
	src("POST", "auth/token/roles/ci", fields{"allowed_policies": []string{"app"}, "token_period": "1h",
		"renewable": false})
	src("POST", "sys/auth/approle", fields{"type": "approle", "config": fields{"default_lease_ttl": "30m"}})
	src("POST", "auth/approle/role/web", fields{"token_policies": []string{"app"}, "role_id": "web-role-id",
		"secret_id_num_uses": 3, "secret_id_bound_cidrs": []string{"127.0.0.0/8"}})
	src("POST", "auth/approle/role/web/secret-id", nil)
	src("POST", "sys/auth/people", fields{"type": "userpass"})
	src("POST", "auth/people/users/bob", fields{"password": "swordfish-of-bob", "token_policies": []string{"app"}})
	src("POST", "sys/mounts/pki", fields{"type": "pki"})
	src("POST", "sys/namespaces/team", nil)
	src("POST", "identity/entity", fields{"name": "somebody"})
	return m.fillTransit()
}

var importedTypes = []string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305", "xchacha20-poly1305", "rsa-2048",
	"ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "hmac"}

func (m *migration) fillTransit() map[string]string {
	src := m.source
	src("POST", "sys/mounts/transit", fields{"type": "transit"})
	ciphers := map[string]string{}
	for _, kind := range importedTypes {
		for _, backup := range []bool{false, true} {
			name := fmt.Sprintf("%s-%v", kind, backup)
			made := fields{"type": kind, "exportable": true, "allow_plaintext_backup": backup}
			if kind == "hmac" {
				made["key_size"] = 64
			}
			src("POST", "transit/keys/"+name, made)
			ciphers[name] = m.useAtSource(name, kind) // by version 1
			src("POST", "transit/keys/"+name+"/rotate", nil)
		}
	}
	src("POST", "transit/keys/convergent", fields{"derived": true, "convergent_encryption": true, "exportable": true})
	src("POST", "transit/keys/convergent/config", fields{"auto_rotate_period": "48h", "deletion_allowed": true})
	src("POST", "transit/keys/raised", fields{"exportable": true})
	src("POST", "transit/keys/raised/rotate", nil)
	src("POST", "transit/keys/raised/config", fields{"min_decryption_version": 2})
	src("POST", "transit/keys/stays", nil)
	return ciphers
}

var importedText = base64.StdEncoding.EncodeToString([]byte("correct-horse-17"))

// useAtSource encrypts, signs or authenticates a text.
func (m *migration) useAtSource(name, kind string) string {
	endpoint, body, answer := "encrypt", fields{"plaintext": importedText}, "ciphertext"
	switch {
	case kind == "hmac":
		endpoint, body, answer = "hmac", fields{"input": importedText}, "hmac"
	case strings.HasPrefix(kind, "e"):
		endpoint, body, answer = "sign", fields{"input": importedText}, "signature"
	}
	text, _ := m.source("POST", "transit/"+endpoint+"/"+name, body)[answer].(string)
	if text == "" {
		m.t.Fatalf("%s with %s has no answer", endpoint, name)
	}
	return text
}

func (m *migration) checkKV(report importReport) {
	t := m.t
	plain := m.must(200, "GET", "plain/a/b%20c/d%3F%25", nil)
	if !strings.Contains(string(plain.Body), `"big":123456789012345678901`) {
		t.Errorf("kv 1: %s", plain.Body)
	}
	if tuned := m.data(200, "GET", "sys/mounts/plain/tune", nil); tuned["max_lease_ttl"] != 7200.0 ||
		tuned["listing_visibility"] != "unauth" || tuned["description"] != "old secrets" {
		t.Errorf("the mount is tuned as %v", tuned)
	}
	const path = "deep/er/versions"
	want, have := m.source("GET", "secret/metadata/"+path, nil), m.data(200, "GET", "secret/metadata/"+path, nil)
	for _, name := range []string{"cas_required", "current_version", "custom_metadata", "delete_version_after",
		"max_versions", "oldest_version"} {
		if !reflect.DeepEqual(want[name], have[name]) {
			t.Errorf("%s is %v, at the source %v", name, have[name], want[name])
		}
	}
	for n := range 9 {
		query := fmt.Sprintf("?version=%d", n+1)
		reply := m.call("GET", "secret/data/"+path+query, nil)
		if readable := n+1 >= 4 && n+1 != 5 && n+1 != 7; (reply.Code == 200) != readable ||
			readable && !strings.Contains(string(reply.Body), fmt.Sprintf(`"data":{"n":%d}`, n+1)) {
			t.Errorf("version %d: %d %s", n+1, reply.Code, reply.Body)
		}
	}
	if outcome, notes := report.outcome(t, "secret", "secret/"+path); outcome != "created" ||
		!strings.Contains(notes, "deleted versions cannot be read") || !strings.Contains(notes, "[7]") {
		t.Errorf("%s %s", outcome, notes)
	}
	if only := m.data(200, "GET", "secret/metadata/empty", nil); only["current_version"] != 0.0 {
		t.Errorf("a secret without versions: %v", only)
	}
	// Clients continue with the numbers that they know.
	m.must(400, "POST", "secret/data/"+path, fields{"data": fields{"n": 10}})
	m.must(400, "POST", "secret/data/"+path, fields{"data": fields{"n": 10}, "options": fields{"cas": 8}})
	m.must(200, "POST", "secret/data/app", fields{"data": fields{"v": 2}, "options": fields{"cas": 1}})
	m.must(204, "DELETE", "secret/metadata/app", nil) // the second run is over a complete import
	m.bring(2, m.bao.Addr, m.bao.Root, "-password-hashes")
}

func (m *migration) checkTransit(report importReport, ciphers map[string]string) {
	t := m.t
	for name, text := range ciphers {
		kind := name[:strings.LastIndex(name, "-")]
		endpoint, answer, want := "transit/verify/", "valid", any(true)
		body := fields{"input": importedText, "signature": text}
		switch {
		case kind == "hmac":
			body = fields{"input": importedText, "hmac": text}
		case !strings.HasPrefix(kind, "e"):
			endpoint, body, answer, want = "transit/decrypt/", fields{"ciphertext": text}, "plaintext", any(importedText)
		}
		if got := m.data(200, "POST", endpoint+name, body)[answer]; got != want {
			t.Errorf("%s%s: %s is %v, not %v", endpoint, name, answer, got, want)
		}
		if answer != "plaintext" {
			continue
		}
		// The other way, by the newest version, so that a client can go back.
		made := m.data(200, "POST", "transit/encrypt/"+name, fields{"plaintext": importedText})
		back := m.source("POST", "transit/decrypt/"+name, fields{"ciphertext": made["ciphertext"]})
		if back["plaintext"] != importedText {
			t.Errorf("the source decrypts another text of %s", name)
		}
	}
	context := base64.StdEncoding.EncodeToString([]byte("a context"))
	body := fields{"plaintext": importedText, "context": context}
	want := m.source("POST", "transit/encrypt/convergent", body)["ciphertext"]
	if got := m.data(200, "POST", "transit/encrypt/convergent", body)["ciphertext"]; got != want {
		t.Errorf("convergent encryption gives %v, not %v", got, want)
	}
	if outcome, reason := report.outcome(t, "transit key", "transit/keys/stays"); outcome != "left" ||
		!strings.Contains(reason, "not exportable") {
		t.Errorf("a key that cannot be exported: %s %s", outcome, reason)
	}
	if _, notes := report.outcome(t, "transit key", "transit/keys/raised"); !strings.Contains(notes, "are lost") {
		t.Errorf("versions that are archived: %s", notes)
	}
}

func (m *migration) checkAuth(report importReport) {
	t := m.t
	m.must(200, "POST", "auth/people/login/bob", fields{"password": "swordfish-of-bob"})
	m.must(400, "POST", "auth/people/login/bob", fields{"password": "another"})
	if role := m.data(200, "GET", "auth/approle/role/web", nil); role["secret_id_num_uses"] != 3.0 {
		t.Errorf("the role is %v", role)
	}
	secret, _ := m.data(200, "POST", "auth/approle/role/web/secret-id", nil)["secret_id"].(string)
	m.known.add("a secret id", secret)
	m.must(200, "POST", "auth/approle/login", fields{"role_id": "web-role-id", "secret_id": secret})
	accessors, _ := json.Marshal(m.bao.Must("LIST", "auth/approle/role/web/secret-id", nil)["keys"])
	if _, reason := report.outcome(t, "secret id", "auth/approle/role/web/secret-id"); !strings.Contains(reason,
		strings.Trim(string(accessors), `["]`)) {
		t.Errorf("the accessors are %s: %s", accessors, reason)
	}
	role := m.data(200, "GET", "auth/token/roles/ci", nil)
	if role["renewable"] != false || role["token_period"] != 3600.0 {
		t.Errorf("the token role is %v", role)
	}
	var kinds []string
	for _, i := range report.Items {
		if i.Outcome == "left" {
			kinds = append(kinds, i.Kind)
		}
	}
	slices.Sort(kinds)
	if want := []string{"identity", "mount", "namespace", "secret id", "transit key"}; !slices.Equal(kinds, want) {
		t.Errorf("left: %v, not %v", kinds, want)
	}
}

// checkOverwrite: what differs is left alone until it may be replaced.
func (m *migration) checkOverwrite() {
	t := m.t
	m.must(200, "POST", "secret/data/app", fields{"data": fields{"v": "ours"}})
	m.must(204, "POST", "plain/a/b%20c/d%3F%25", fields{"text": "ours"})
	m.must(204, "PUT", "sys/policies/acl/app", fields{"policy": `path "ours" { capabilities = ["read"] }`})
	m.must(200, "POST", "transit/keys/rsa-2048-true/rotate", nil)
	m.must(200, "POST", "transit/keys/convergent/config", fields{"deletion_allowed": true})
	m.must(204, "DELETE", "transit/keys/convergent", nil)
	m.must(200, "POST", "transit/keys/convergent", fields{"derived": true, "convergent_encryption": true,
		"exportable": true, "auto_rotate_period": "48h"})
	m.must(200, "POST", "transit/keys/convergent/config", fields{"deletion_allowed": true})
	items := map[string]string{"secret/app": "secret", "plain/a/b c/d?%": "secret", "sys/policies/acl/app": "policy",
		"transit/keys/rsa-2048-true": "transit key", "transit/keys/convergent": "transit key"}
	for i, c := range []struct {
		want string
		more []string
	}{{"differs", nil}, {"updated", []string{"-overwrite"}}, {"same", nil}} {
		report, _ := m.bring(2, m.bao.Addr, m.bao.Root, c.more...)
		for path, kind := range items {
			if outcome, why := report.outcome(t, kind, path); outcome != c.want {
				t.Errorf("run %d: %s is %s, not %s: %s", i, path, outcome, c.want, why)
			}
		}
	}
	if got := m.data(200, "GET", "secret/data/app", nil)["data"]; !reflect.DeepEqual(got,
		map[string]any{"v": "correct-horse-17"}) {
		t.Error("the secret was not replaced")
	}
}

// fragile is a proxy that breaks every connection after a number of requests.
type fragile struct {
	*httptest.Server
	left atomic.Int64
}

func newFragile(t *testing.T, target string) *fragile {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &fragile{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorLog = nil
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.left.Add(-1) < 0 {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// TestImportInterrupted: an import whose servers go away again and again is continued until it is
// complete, and what it brought is what an import in one run brings.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	const secrets = 120
	m.mountVersioned()
	for n := range secrets {
		path := fmt.Sprintf("folder-%d/secret-%d", n%7, n)
		for v := range 1 + n%3 {
			m.source("POST", "secret/data/"+path, fields{"data": fields{"n": n, "v": v}})
		}
		if n%5 == 0 {
			m.source("POST", "secret/delete/"+path, fields{"versions": []int{1}})
			m.source("POST", "secret/metadata/"+path, fields{"custom_metadata": fields{"n": fmt.Sprint(n)}})
		}
	}
	from, to := newFragile(t, "http://"+m.bao.Addr), newFragile(t, m.URL())
	runs, complete := 0, false
	for ; !complete && runs < 200; runs++ {
		from.left.Store(1 << 40)
		to.left.Store(1 << 40)
		budget := int64(30 + 25*runs)
		if runs%2 == 0 {
			from.left.Store(budget)
		} else {
			to.left.Store(budget)
		}
		res, err := m.CLI(t.Context(), m.root, m.bao.Root, "import", "openbao", "-format=json", "-rate=0",
			"-source-address="+from.URL, "-source-token-file=-", "-address="+to.URL)
		if err != nil {
			t.Fatal(err)
		}
		var report importReport
		if err := json.Unmarshal([]byte(res.Out), &report); err != nil {
			t.Fatalf("%v: %s%s", err, res.Out, res.Err)
		}
		if report.Counts["secret"]["differs"]+report.Counts["secret"]["failed"] > 0 {
			t.Fatalf("run %d: %+v", runs, report)
		}
		if complete = res.Code == 0; !complete && (report.Error == "" || !strings.Contains(res.Err, "next run continues")) {
			t.Fatalf("run %d: exit code %d: %s%s", runs, res.Code, res.Out, res.Err)
		}
	}
	if runs < 5 {
		t.Errorf("%d runs: nothing was interrupted", runs)
	}
	report, _ := m.bring(0, m.bao.Addr, m.bao.Root)
	if report.changed() > 0 || report.Counts["secret"]["same"] != secrets {
		t.Errorf("after %d runs: %v", runs, report.Counts)
	}
	m.bao.Stop()
	if _, errs := m.bring(2, m.bao.Addr, m.bao.Root); !strings.Contains(errs, "connection refused") {
		t.Errorf("a source that is not there: %s", errs)
	}
}
