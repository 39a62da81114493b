package ui

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

// policiesData is the page of policies: the list, one that is open, and the tester.
type policiesData struct {
	Names []string
	Open  string // name of the policy that is shown
	Text  string
}

func policiesPage() *page {
	return &page{
		slug: "policies", title: "policies", group: "access",
		intro: "A policy is a list of paths and what may be done there. A token has some of them; deny wins.",
		cli:   []string{"sealgate policy list", "sealgate policy read NAME"},
		load: func(q *query) (any, error) {
			var d policiesData
			var err error
			if d.Names, err = q.list("sys/policies/acl"); err != nil {
				return d, err
			}
			if name := q.r.URL.Query().Get("name"); name != "" {
				var one struct{ Policy string }
				if err = q.get("sys/policies/acl/"+name, &one); err == nil {
					d.Open, d.Text = name, one.Policy
				}
			}
			return d, err
		},
		actions: []action{
			{
				Name: "save", Title: "Save the policy", Path: "sys/policies/acl/{name}", CLI: "sealgate policy write <name> FILE",
				Fields: []field{
					{Name: "name", Label: "Name", Kind: "text", Required: true, inPath: true},
					{Name: "policy", Label: "Rules", Kind: "area", Required: true, Hint: "HCL, as in Vault."},
				},
				Done: "The policy is saved.",
			},
			{
				Name: "test", Title: "Test a token", Path: "sys/capabilities-accessor", Result: "verdict", finish: judge,
				CLI:   "sealgate token capabilities -accessor <accessor> <path>",
				Intro: "May this token do this, and which rule decides?",
				Fields: []field{
					{Name: "accessor", Label: "Accessor of the token", Kind: "text", Required: true,
						Hint: "The tokens page has it; the token itself is not needed."},
					{Name: "path", Label: "Path", Kind: "text", Required: true, Hint: "Such as secret/data/app."},
				},
				prepare: func(body map[string]any) error {
					path, _ := body["path"].(string)
					body["paths"] = []string{strings.Trim(strings.TrimSpace(path), "/")}
					delete(body, "path")
					return nil
				},
			},
			{
				Name: "delete", Title: "Delete", Path: "sys/policies/acl/{name}", Method: http.MethodDelete, Row: true,
				Danger: true, CLI: "sealgate policy delete <name>", Done: "The policy is deleted.",
				Fields: []field{{Name: "name", Label: "Name", Kind: "hidden", Required: true, inPath: true}},
			},
		},
	}
}

// verdict is the result of a test.
type verdict struct {
	Path         string
	Capabilities []string
	Rule         string   // the path of the rule that decides; "" if none matches
	Policies     []string // that have this rule
	Unread       []string // policies of the token that the session may not read
	Root         bool
}

// judge names the rule that decides about a path. The capabilities themselves are the server's.
func judge(q *query, f *form, answer map[string]any) (map[string]any, error) {
	v := verdict{Path: strings.Trim(strings.TrimSpace(f.text("path")), "/")}
	v.Capabilities = list(answer["capabilities"])
	var t tokenRow
	if err := q.post("auth/token/lookup-accessor", map[string]any{"accessor": f.text("accessor")}, &t); err != nil {
		return nil, err
	}
	v.Root = slices.Contains(t.Policies, "root")
	var read []*policy.Policy
	var names []string // of read
	for _, name := range t.Policies {
		var one struct{ Policy string }
		if q.get("sys/policies/acl/"+name, &one) != nil {
			v.Unread = append(v.Unread, name)
			continue
		}
		if parsed, err := policy.Parse(one.Policy); err == nil {
			read, names = append(read, parsed), append(names, name)
		}
	}
	now := q.u.Now()
	v.Rule = policy.Compile(now, read...).Deciding(v.Path)
	for i, one := range read {
		if v.Rule != "" && policy.Compile(now, one).Deciding(v.Path) == v.Rule {
			v.Policies = append(v.Policies, names[i])
		}
	}
	return map[string]any{"Verdict": v}, nil
}

// list returns the texts of a JSON list.
func list(v any) []string {
	var out []string
	all, _ := v.([]any)
	for _, one := range all {
		if text, ok := one.(string); ok {
			out = append(out, text)
		}
	}
	return out
}
