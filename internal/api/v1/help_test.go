package v1

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api/openapi"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	for _, tc := range []struct{ method, path, text string }{
		{"HELP", "sys/mounts", "Matching Route: /sys/mounts\n\nLists the mounts."},
		{"GET", "sys/mounts/secret?help=1", "Matching Route: /sys/mounts/*"},
		{"GET", "sys/rotate/root?help=true", "PUT, POST: a token with update and sudo"},
		{"HELP", "sys/quotas/rate-limit/x", "block_interval (duration)"},
		{"HELP", "sys/health", "GET: open"},
		{"HELP", "secret/a/b", "Matching Route: secret/*"},
		{"HELP", "sys/metrics/", "format (string)"},
		{"GET", "sys?help=1", "\n    mounts\n"}, {"HELP", "sys/", "\n    wrapping/unwrap\n"},
		{"GET", "auth/token?help=1", "\n    create-orphan\n"}, {"GET", "auth/token/?help=1", "\n    lookup-self\n"},
		{"HELP", "auth/userpass", "User names and passwords."},
		{"HELP", "auth/userpass/users/x", "Matching Route: auth/userpass/*"},
	} {
		var a openapi.HelpAnswer
		got := w.do(tc.method, tc.path, "")
		w.decode(got, &a)
		if got.Code != 200 || !strings.Contains(a.Help, tc.text) || a.SeeAlso == nil || a.OpenAPI == nil {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, got.Code, got.Body)
		}
	}
	w.expect("nowhere", w.do("HELP", "sys/nowhere", ""), 404, "")
	w.expect("no method", w.do("HELP", "auth/nope/login", ""), 404, "")
	w.expect("no mount", w.do("HELP", "nowhere/x", ""), 404, "")
	w.expect("unknown", w.do("HELP", "sys/mounts", "", "X-Vault-Token", ""), 403, refusal("permission denied"))
	w.expect("help=x", w.do("GET", "sys/mounts?help=x", ""), 400, empty)
	weak := w.grant("s.weak", moment.AddDate(1, 0, 0), "default")
	w.expect("without any capability", w.do("HELP", "sys/rotate", "", "X-Vault-Token", weak), 200, "")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	w.expect("sealed", w.do("HELP", "sys/mounts", ""), 503, refusal("Vault is sealed"))
}

// TestTrap33UnknownFieldsWarnWhereThereIsABody is number 33 of the traps: a warning and no error,
// and none in a 204.
func TestTrap33UnknownFieldsWarnWhereThereIsABody(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	warnings := func(path, body string) string {
		var a struct{ Warnings []string }
		w.decode(w.do("PUT", path, body), &a)
		return fmt.Sprint(a.Warnings)
	}
	const path = "sys/rotate/root/init"
	if got := warnings(path, `{"secret_shares":1,"secret_threshold":1,"zoo":1,"bar":[]}`); got != "[Endpoint ignored "+
		"these unrecognized parameters: [bar zoo]]" {
		t.Error(got)
	}
	w.expect("a 204 stays one", w.do("PUT", "sys/rotate/config", `{"enabled":true,"nonsense":1}`), 204, "")
	w.expect("no error where no body comes", w.do("PUT", "sys/quotas/rate-limit/q",
		`{"rate":1000,"name":"other","nonsense":1}`), 204, "")
	w.expect("role", w.do("PUT", "auth/token/roles/r", `{}`), 204, "")
	const replaced = "[Endpoint replaced the value of these parameters with the values captured from the " +
		"endpoint's path: [role_name]]"
	if got := warnings("auth/token/create/r", `{"role_name":"other"}`); got != replaced {
		t.Error(got)
	}
}

// TestEveryPathHasItsDoc keeps the table and what is said of it together: adding a path means
// saying what it is for and what it takes.
func TestEveryPathHasItsDoc(t *testing.T) {
	t.Parallel()
	paths := map[string]bool{}
	for _, r := range table.Routes {
		paths[r.Path] = true
		if table.Docs[r.Path].Text == "" {
			t.Errorf("%s has no entry in docs.go", r.Path)
		}
	}
	for path := range table.Docs {
		if !paths[path] {
			t.Errorf("docs.go has an entry for %s, which is not in the table", path)
		}
	}
}

// TestOpenAPI checks that the document has every line of the table, and that its references and
// names hold.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	a := w.do("GET", "sys/internal/specs/openapi", "", "X-Vault-Token", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage
	}
	w.decode(a, &doc)
	if a.Code != 200 || doc.OpenAPI != "3.0.2" {
		t.Fatalf("%d %.200s", a.Code, a.Body)
	}
	ids := map[string]bool{}
	for _, r := range table.Routes {
		path, star := strings.CutSuffix("/"+r.Path, "*")
		if star {
			path += "{" + table.Docs[r.Path].PathParam() + "}"
		}
		for _, method := range r.Methods {
			name := strings.ToLower(method)
			if name == "put" {
				name = "post"
			}
			if name == "list" || name == "scan" {
				name = "get"
			}
			raw := doc.Paths[path][name]
			var o struct {
				OperationID string `json:"operationId"`
				Responses   map[string]any
			}
			if raw == nil || json.Unmarshal(raw, &o) != nil || len(o.Responses) == 0 {
				t.Errorf("%s %s is not in the document", method, path)
				continue
			}
			ids[o.OperationID+" "+path+" "+name] = true
		}
	}
	var names []string
	for id := range ids {
		name, _, _ := strings.Cut(id, " ")
		names = append(names, name)
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != len(ids) {
		t.Errorf("%d operations have %d names", len(ids), n)
	}
}
