package v1

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
)

// target is a request that an exact deny forbids.
type target struct {
	method, path string
	fold         bool // the last segment, or the one after the mount's head, has no case
}

// mountedTargets are paths behind mounts, with the name of a user or role in each.
var mountedTargets = []target{
	{"GET", "secret/admin", false}, {"PUT", "secret/admin", false}, {"DELETE", "secret/admin", false},
	{"LIST", "secret/folder", false}, {"GET", "cubbyhole/admin", false}, {"DELETE", "cubbyhole/admin", false},
	{"GET", "auth/userpass/users/admin", true}, {"PUT", "auth/userpass/users/admin", true},
	{"DELETE", "auth/userpass/users/admin", true}, {"PUT", "auth/userpass/users/admin/password", true},
	{"LIST", "auth/userpass/users", false},
	{"GET", "auth/approle/role/admin", true}, {"DELETE", "auth/approle/role/admin", true},
	{"GET", "auth/approle/role/admin/role-id", true}, {"PUT", "auth/approle/role/admin/secret-id", true},
	{"LIST", "auth/approle/role/admin/secret-id", true},
	{"GET", "auth/cert/certs/admin", true}, {"DELETE", "auth/cert/certs/admin", true},
	{"GET", "auth/jwt/role/admin", true}, {"DELETE", "auth/jwt/role/admin", true},
}

// spellings are the ways to write a path that a client might try in order to pass a deny. Each is
// as it is on the wire, escaped.
func spellings(t target) map[string]string {
	escaped := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}
	first, rest, _ := strings.Cut(t.path, "/")
	dir := t.path[:strings.LastIndexByte(t.path, '/')+1]
	last := t.path[len(dir):]
	all := map[string]string{
		"as it is":             t.path,
		"slash at the end":     t.path + "/",
		"two slashes":          t.path + "//",
		"slash in front":       "/" + t.path,
		"doubled slash":        first + "//" + rest,
		"all doubled":          strings.ReplaceAll(t.path, "/", "//"),
		"dot":                  dir + "./" + last,
		"dot at the end":       t.path + "/.",
		"dots":                 dir + "x/../" + last,
		"dots from elsewhere":  "secret/../" + t.path,
		"dots at the end":      t.path + "/x/..",
		"escaped letters":      dir + escaped(last),
		"escaped slashes":      strings.ReplaceAll(t.path, "/", "%2f"),
		"escaped dots":         dir + "x/%2e%2e/" + last,
		"escaped slash at end": t.path + "%2f",
		"all escaped":          escaped(t.path),
		"escaped twice":        strings.ReplaceAll(escaped(t.path), "%", "%25"),
		"null":                 t.path + "%00",
		"tab":                  t.path + "%09",
		"upper-case table":     strings.ToUpper(first) + "/" + rest,
		"full-width table":     url.PathEscape("ｓ"+first[1:]) + "/" + rest,
	}
	if t.fold {
		all["upper-case name"] = strings.Replace(t.path, "admin", "ADMIN", 1)
		all["mixed case, slash"] = strings.Replace(t.path, "admin", "Admin", 1) + "/"
		all["escaped upper case"] = strings.Replace(t.path, "admin", escaped("ADMIN"), 1)
		all["mixed case, doubled slash"] = strings.Replace(t.path, "admin", "/aDMIN", 1)
	}
	return all
}

// follow sends a request, and follows redirections as clients do.
func (w *harness) follow(method, escaped, token string) *httptest.ResponseRecorder {
	w.t.Helper()
	for range 3 {
		u, err := url.Parse("/v1/" + escaped)
		if err != nil {
			w.t.Fatalf("%q: %v", escaped, err)
		}
		if strings.HasPrefix(escaped, "/") { // or it would be read as a host
			u = &url.URL{Path: "/v1/" + escaped}
		}
		r := httptest.NewRequest(method, "/", strings.NewReader("{}"))
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
		r.Header.Set("X-Vault-Token", token)
		r.Header.Set("Content-Type", "application/merge-patch+json")
		a := w.send(r)
		if a.Code != http.StatusTemporaryRedirect {
			return a
		}
		escaped = strings.TrimPrefix(a.Header().Get("Location"), "/v1/")
	}
	w.t.Fatalf("%s %s is redirected for ever", method, escaped)
	return nil
}

// TestDenyHoldsForEverySpelling tries every route, and paths of every kind of mount, in every
// spelling, with a token that may do anything but one exact path.
func TestDenyHoldsForEverySpelling(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, kind := range []string{"userpass", "approle", "cert", "jwt"} {
		w.expect("enable "+kind, w.do("POST", "sys/auth/"+kind, fmt.Sprintf(`{"type":%q}`, kind)), 204, "")
	}
	w.expect("user", w.do("PUT", "auth/userpass/users/admin", `{"password":"long enough"}`), 204, "")
	w.expect("role", w.do("PUT", "auth/approle/role/admin", `{}`), 204, "")
	w.expect("secret", w.do("PUT", "secret/admin", `{"a":1}`), 204, "")
	targets := slices.Clone(mountedTargets)
	for _, r := range table.Routes {
		if r.Access != api.WithToken && r.Access != api.TokenUnlessSealed {
			continue
		}
		for _, m := range r.Methods {
			path := strings.Replace(r.Path, "*", "admin", 1)
			targets = append(targets, target{m, path, r.Fold})
		}
	}
	for _, tc := range targets {
		name := w.unique()
		w.policy(name, fmt.Sprintf(`path "*" { capabilities = ["create", "read", "update", "delete", "list", "patch", "scan", "sudo"] }
path %q { capabilities = ["deny"] }`, tc.path))
		token := w.grant(name, moment.Add(time.Hour), name)
		for how, spelled := range spellings(tc) {
			if a := w.follow(tc.method, spelled, token); a.Code < 400 || a.Code >= 500 {
				t.Errorf("%s %s by %q (%s): %d %.200s", tc.method, tc.path, spelled, how, a.Code, a.Body)
			}
		}
	}
	w.expect("the user is still there", w.do("GET", "auth/userpass/users/admin", ""), 200, "")
	w.expect("the role is still there", w.do("GET", "auth/approle/role/admin", ""), 200, "")
	w.expect("the secret is still there", w.do("GET", "secret/admin", ""), 200, "")
}

// TestPoliciesOnNamesWithoutCase: a rule on such a name applies to every spelling, whichever the
// rule has.
func TestPoliciesOnNamesWithoutCase(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("userpass", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("approle", w.do("POST", "sys/auth/Apps", `{"type":"approle"}`), 204, "")
	w.expect("role", w.do("PUT", "auth/Apps/role/PROD", `{}`), 204, "")
	w.expect("user", w.do("PUT", "auth/userpass/users/Admin", `{"password":"long enough"}`), 204, "")
	w.policy("names", `
		path "auth/Apps/role/PROD/secret-id" { capabilities = ["update"] }
		path "auth/userpass/users/*" { capabilities = ["read", "delete"] }
		path "auth/userpass/users/ADMIN" { capabilities = ["deny"] }
		path "sys/policies/acl/OPS" { capabilities = ["read"] }`)
	token := w.grant("names", moment.Add(time.Hour), "names")
	w.expect("policy", w.do("PUT", "sys/policies/acl/ops", `{"policy":"path \"a\" {}"}`), 204, "")
	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"PUT", "auth/Apps/role/PROD/secret-id", 200}, {"PUT", "auth/Apps/role/prod/secret-id", 200},
		{"PUT", "auth/apps/role/prod/secret-id", 403}, {"PUT", "auth/Apps/role/other/secret-id", 403},
		{"DELETE", "auth/userpass/users/admin", 403}, {"DELETE", "auth/userpass/users/Admin", 403},
		{"DELETE", "auth/userpass/users/ADMIN", 403}, {"GET", "auth/userpass/users/other", 404},
		{"GET", "sys/policies/acl/ops", 200}, {"GET", "sys/policies/acl/OPS", 200},
	} {
		if a := w.as(token, tc.method, tc.path, ""); a.Code != tc.code {
			t.Errorf("%s %s: %d %s, want %d", tc.method, tc.path, a.Code, a.Body, tc.code)
		}
	}
}

// TestAuditAndQuotasSeeTheCanonicalPath: no spelling hides a request from a quota, or in the trail.
func TestAuditAndQuotasSeeTheCanonicalPath(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	file := w.audited("")
	w.expect("userpass", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("a delete", w.do("DELETE", "auth/userpass/users/NoSuchUser", ""), 204, "")
	if trail := w.trail(file); strings.Contains(trail, `"path":"auth/userpass/users/NoSuchUser"`) ||
		!strings.Contains(trail, `"path":"auth/userpass/users/nosuchuser"`) {
		t.Errorf("the trail does not have the canonical path:\n%s", trail)
	}
	w.expect("quota", w.do("PUT", "sys/quotas/rate-limit/q", `{"path":"auth/userpass/login/admin","rate":1,"interval":"1h"}`), 204, "")
	codes := []int{}
	for _, name := range []string{"admin", "ADMIN", "aDmin"} {
		codes = append(codes, w.do("PUT", "auth/userpass/login/"+name, `{"password":"x"}`, "X-Vault-Token", "").Code)
	}
	if !slices.Equal(codes, []int{400, 429, 429}) {
		t.Errorf("logins of one name in three spellings: %v", codes)
	}
}
