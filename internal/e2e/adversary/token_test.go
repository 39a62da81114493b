package adversary

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends a request line as it is, past every client that would clean the path, and returns the
// status.
func (a *target) raw(method, path, token string) int {
	a.t.Helper()
	c, err := net.DialTimeout("tcp", a.Addr, 5*time.Second)
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		a.t.Fatal(err)
	}
	if _,
		err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\nContent-Length: "+
		"0\r\nConnection: close\r\n\r\n",
		method, path, token); err != nil {
		a.t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer r.Body.Close()
	return r.StatusCode
}

// limited makes a token that may do everything but what its deny rules name.
func (a *target) limited(deny ...string) string {
	a.t.Helper()
	rules := "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", " +
		"\"list\", \"sudo\"] }\n"
	for _, path := range deny {
		rules += fmt.Sprintf("path %q { capabilities = [\"deny\"] }\n", path)
	}
	a.must(204, "PUT", "sys/policies/acl/limited", a.root, map[string]string{"policy": rules}, nil)
	var out struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	a.must(200, "POST", "auth/token/create", a.root, map[string]any{"policies": []string{"limited"},
		"no_default_policy": true}, &out)
	return out.Auth.Token
}

// TestTokenDenyBySpelling: no spelling of a path gets past an exact deny.
func TestTokenDenyBySpelling(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	a.must(204, "POST", "sys/auth/userpass", a.root, map[string]string{"type": "userpass"}, nil)
	a.must(204, "POST", "auth/userpass/users/admin", a.root, map[string]string{"password": "a long password"}, nil)
	a.must(204, "POST", "sys/auth/approle", a.root, map[string]string{"type": "approle"}, nil)
	a.must(204, "POST", "auth/approle/role/prod", a.root, map[string]string{"token_policies": "default"}, nil)
	denied := map[string]string{
		"sys/storage/raft/snapshot":        "GET",
		"sys/mounts":                       "GET",
		"sys/audit":                        "GET",
		"sys/key-status":                   "GET",
		"sys/config/cors":                  "DELETE",
		"sys/policies/acl/admin":           "GET",
		"auth/userpass/users/admin":        "DELETE",
		"auth/approle/role/prod/secret-id": "POST",
		"auth/approle/role/prod":           "GET",
	}
	var paths []string
	for path := range denied {
		paths = append(paths, path)
	}
	token := a.limited(paths...)
	for path, method := range denied {
		for name, spelled := range spellings(path) {
			code := a.raw(method, "/v1/"+spelled, token)
			if code/100 == 2 && !(method == http.MethodDelete && otherName[name]) {
				t.Errorf("%s %s (%s): %d past the deny", method, spelled, name, code)
			}
		}
	}
	a.must(200, "GET", "auth/userpass/users/admin", a.root, nil, nil)
}

// spellings of a path that a handler might fold to the same thing.
func spellings(path string) map[string]string {
	last := path[strings.LastIndex(path, "/")+1:]
	before := strings.TrimSuffix(path, last)
	return map[string]string{
		"as it is":         path,
		"trailing slash":   path + "/",
		"two at the end":   path + "//",
		"doubled slash":    strings.Replace(path, "/", "//", 1),
		"leading slash":    "/" + path,
		"dot segment":      before + "./" + last,
		"dot-dot segment":  before + "x/../" + last,
		"upper case":       strings.ToUpper(path),
		"last in capitals": before + strings.ToUpper(last),
		"encoded letter":   before + "%" + fmt.Sprintf("%02x", last[0]) + last[1:],
		"encoded slash":    strings.Replace(path, "/", "%2f", 1),
		"encoded end":      path + "%2f",
		"double encoding":  before + "%25" + fmt.Sprintf("%02x", last[0]) + last[1:],
		"encoded dot":      before + "%2e/" + last,
		"space":            path + "%20",
		"tab":              path + "%09",
		"null":             path + "%00",
		"semicolon":        path + ";x",
		"long s":           before + strings.Replace(last, "s", "%c5%bf", 1),
		"kelvin":           before + strings.Replace(last, "k", "%e2%84%aa", 1),
		"full width":       before + "%ef%bd%81" + last[1:],
		"zero width":       path + "%e2%80%8b",
	}
}

// otherName are spellings that are another user's name: deleting a user who does not exist
// succeeds.
var otherName = map[string]bool{"full width": true, "space": true, "double encoding": true, "semicolon": true}

// TestTokenFirstRecoveryShares: making the first recovery shares of a store without any is a root
// operation.
func TestTokenFirstRecoveryShares(t *testing.T) {
	t.Parallel()
	a := newTargetOf(t, staticSeal, "", 0)
	a.must(204, "PUT", "sys/policies/acl/rotator", a.root,
		map[string]string{"policy": `path "sys/rotate/recovery/*" { capabilities = ["update"] }`}, nil)
	var out struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	a.must(200, "POST", "auth/token/create", a.root, map[string]any{"policies": []string{"rotator"}}, &out)
	r := a.do("PUT", "sys/rotate/recovery/init", out.Auth.Token, map[string]int{"secret_shares": 1, "secret_threshold": 1})
	if r.Code != 403 {
		t.Errorf("update without sudo made recovery shares: %d %s", r.Code, r.Body)
	}
}

// TestTokenAuditDeviceWritesAnyFile: a device that the API creates cannot write where the operator
// did not allow it.
func TestTokenAuditDeviceWritesAnyFile(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	for _, path := range []string{a.Dir + "/.bashrc", "/etc/profile.d/x.sh", a.Dir + "/data/../.profile"} {
		r := a.do("PUT", "sys/audit/mine", a.root,
			map[string]any{"type": "file", "options": map[string]string{"file_path": path}})
		if r.Code/100 == 2 {
			t.Errorf("a device writes to %s", path)
		}
	}
}
