package v1

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/raw"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

// TestRouteTable pins the table: a change of who may call what shows here.
func TestRouteTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	all := slices.Concat(table.Routes, raw.RecoveryRoutes)
	slices.SortStableFunc(all, func(a, b api.Route) int { return strings.Compare(a.Path, b.Path) })
	for _, r := range all {
		needs := r.Access.String()
		if r.Capability != 0 {
			needs += ", " + r.Capability.String()
		}
		if r.Sudo {
			needs += " and sudo"
		}
		fmt.Fprintf(&b, "%-13s %-36s %-9s %14d  %s%s\n", strings.Join(r.Methods, ","), r.Path, r.Style,
			r.Body, needs, marked(r))
	}
	golden(t, "routes.txt", b.String())
}

// marked lists the columns that are set.
func marked(r api.Route) string {
	var marks []string
	for _, m := range []struct {
		set  bool
		name string
	}{
		{r.Lifecycle, "lifecycle"}, {r.Switch != api.NoSwitch, "switch " + r.Switch.String()}, {r.Shares, "shares"},
		{r.Unwraps, "unwraps"},
		{r.Own, "own"}, {r.Here, "here"}, {r.Guarded, "guarded"}, {r.Fold, "fold"}, {r.Folder, "folder"},
		{r.Audit != api.AuditBoth, "audit " + r.Audit.String()},
		{r.Duration != api.Usual, r.Duration.String()}, {r.Target != 0, "target " + r.Target.String()},
		{r.Exists != nil, "create or update"}, {r.Quorum != "", "quorum " + string(r.Quorum)},
	} {
		if m.set {
			marks = append(marks, m.name)
		}
	}
	if marks == nil {
		return ""
	}
	return "; " + strings.Join(marks, ", ")
}

func TestRouteTableIsSound(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range table.Routes {
		for _, m := range r.Methods {
			if seen[m+r.Path] {
				t.Errorf("%s %s is there twice", m, r.Path)
			}
			seen[m+r.Path] = true
		}
		guarded := r.Access == api.WithToken || r.Access == api.TokenUnlessSealed || r.Access == api.OptionalToken
		if guarded != (r.Capability != 0) || r.Sudo && !guarded {
			t.Errorf("%v %s: its access and its capability contradict each other", r.Methods, r.Path)
		}
		if r.Shares && guarded && r.Access != api.OptionalToken {
			t.Errorf("%v %s: refusals are counted where anybody may give a share, and nowhere else", r.Methods, r.Path)
		}
		if !api.InTable(r.Path) {
			t.Errorf("%s is outside sys/ and auth/: requests to it would go to the mounts", r.Path)
		}
		if slices.Contains(r.Methods, "PUT") != slices.Contains(r.Methods, "POST") {
			t.Errorf("%s: PUT and POST are one", r.Path)
		}
	}
}

// outcome is what a request to a route comes to.
type outcome struct {
	code int
	body string
}

var (
	noToken   = outcome{http.StatusForbidden, refusal("permission denied")}
	forbidden = outcome{http.StatusForbidden, refusal("1 error occurred:\n\t* permission denied\n\n")}
	isSealed  = outcome{http.StatusServiceUnavailable, refusal("Vault is sealed")}
	passes    = outcome{} // whatever the handler says, but neither of those above
)

// bearers are the kinds of tokens that every route is asked with.
var bearers = []string{"none", "unknown", "expired", "elsewhere", "sudo alone", "without sudo", "right", "root"}

// expected says what a route owes to a kind of token.
func expected(r api.Route, bearer string) outcome {
	switch {
	case r.Access == api.Open || r.Access == api.AlwaysOpen || r.Access == api.OptionalToken,
		bearer == "right", bearer == "root",
		bearer == "without sudo" && !r.Sudo:
		return passes
	case bearer == "none", bearer == "unknown", bearer == "expired":
		return noToken
	}
	return forbidden
}

// bearer makes a fresh token of a kind for one request; some requests end their token.
func (w *harness) bearer(kind string, r api.Route, method, path string) string {
	w.t.Helper()
	rules := ""
	switch kind {
	case "none":
		return ""
	case "unknown":
		return "s.000000000000000000000000"
	case "root":
		return w.grant(w.unique(), time.Time{}, "root")
	case "expired":
		return w.grant(w.unique(), moment, "root")
	case "elsewhere":
		rules = `path "elsewhere/*" { capabilities = ["create", "read", "update", "delete", "list", ` +
			`"patch", "scan", "sudo"] }`
	case "sudo alone":
		rules = fmt.Sprintf(`path %q { capabilities = ["sudo"] }`, path)
	default:
		need := r.Capability
		if need == 0 {
			need = map[string]policy.Capability{"GET": policy.Read, "LIST": policy.List, "SCAN": policy.Scan,
				"PATCH": policy.Patch, "DELETE": policy.Delete}[method]
		}
		if need == 0 || need&policy.Update != 0 {
			need = policy.Create | policy.Update
		}
		if kind == "right" && r.Sudo {
			need |= policy.Sudo
		}
		rules = fmt.Sprintf(`path %q { capabilities = ["%s"] }`, path, strings.Join(need.Names(), `", "`))
	}
	name := w.unique()
	w.policy(name, rules)
	return w.grant(name, moment.AddDate(1, 0, 0), name)
}

// TestAuthorisationMatrix makes every request of the table with every kind of token. It is made
// from the table: a new route is in it.
func TestAuthorisationMatrix(t *testing.T) {
	t.Parallel()
	every := []string{"GET", "PUT", "DELETE", "LIST", "PATCH", "SCAN"}
	lines := append(slices.Clone(table.Routes),
		api.Route{Methods: every, Path: "secret/matrix"}, api.Route{Methods: every, Path: "nowhere/matrix"},
		api.Route{Methods: every, Path: "sys/nowhere"},
		api.Route{Methods: []string{"PATCH", "LIST", "DELETE"}, Path: "sys/mounts"})
	w := unsealed(t)
	for _, r := range lines {
		if r.Path == "sys/seal" || r.Path == "sys/unseal" {
			continue // they have a harness of their own, below
		}
		path := strings.ReplaceAll(r.Path, "*", "secret")
		for _, method := range r.Methods {
			for _, kind := range bearers {
				if r.Path == "sys/mounts/*" && method == "DELETE" && expected(r, kind) == passes {
					continue // the others need it
				}
				a := w.do(method, path, `{}`, "X-Vault-Token", w.bearer(kind, r, method, path))
				check(t, method+" "+path+" with token "+kind, a.Code, a.Body.String(), expected(r, kind))
			}
		}
	}
	matrixSealed(t, w, lines)
}

// matrixSealed continues with sys/seal: refused to all, then done, and then everything is sealed to
// everybody.
func matrixSealed(t *testing.T, w *harness, lines []api.Route) {
	seal := table.Routes[slices.IndexFunc(table.Routes, func(r api.Route) bool { return r.Path == "sys/seal" })]
	tokens := map[string]string{}
	for _, kind := range bearers {
		tokens[kind] = w.bearer(kind, seal, "PUT", "sys/seal")
		if expected(seal, kind) != passes {
			a := w.do("PUT", "sys/seal", "", "X-Vault-Token", tokens[kind])
			check(t, "PUT sys/seal with token "+kind, a.Code, a.Body.String(), expected(seal, kind))
		}
	}
	w.expect("seal", w.do("PUT", "sys/seal", "", "X-Vault-Token", tokens["right"]), http.StatusNoContent, "")
	for _, r := range lines {
		if r.Path == "sys/seal" || r.Access == api.AlwaysOpen {
			continue
		}
		for _, method := range r.Methods {
			for kind, token := range tokens {
				path := strings.ReplaceAll(r.Path, "*", "secret")
				a := w.do(method, path, `{}`, "X-Vault-Token", token)
				check(t, method+" "+path+" while sealed, with token "+kind, a.Code, a.Body.String(), isSealed)
			}
		}
	}
	for kind, token := range tokens {
		w.expect("sealing again with token "+kind, w.do("PUT", "sys/seal", "", "X-Vault-Token", token),
			http.StatusNoContent, "")
	}
}

func check(t *testing.T, what string, code int, body string, want outcome) {
	t.Helper()
	body = strings.TrimSuffix(body, "\n")
	if want == passes {
		if code == http.StatusForbidden && !strings.Contains(body, "preflight") && !strings.Contains(what, "ui/mounts/") &&
			!strings.Contains(body, "cancelling needs") && !strings.Contains(body, "needs a quorum of shares") ||
			code >= 500 && code != http.StatusNotImplemented {
			t.Errorf("%s: %d %s; it was to pass", what, code, body)
		}
		return
	}
	if code != want.code || body != want.body {
		t.Errorf("%s: %d %s\nwant %d %s", what, code, body, want.code, want.body)
	}
}
