package openapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
)

// HelpRoute answers HELP, and GET with ?help=1, on every path. It needs a token, and no capability.
var HelpRoute = api.Route{Methods: api.Get, Path: "*", Access: api.Open, Style: api.BareStyle,
	Here: true, Handle: showHelp}

type HelpAnswer struct {
	Help    string         `json:"help"`
	SeeAlso []string       `json:"see_also"`
	OpenAPI map[string]any `json:"openapi"`
}

// showHelp describes a path from the table of routes.
func showHelp(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if _, err := q.Bearer(ctx); err != nil {
		return nil, err
	}
	if !api.InTable(q.Path) {
		return helpOfMount(h, q)
	}
	path := strings.TrimSuffix(q.Path, "/")
	var found []*api.Route
	for i := range h.Lines {
		line := &h.Lines[i]
		before, star := strings.CutSuffix(line.Path, "*")
		if line.Path == path || star && strings.HasPrefix(path, before) && len(path) > len(before) {
			found = append(found, line)
		}
	}
	// An exact path comes before one that ends in "*".
	if slices.ContainsFunc(found, func(r *api.Route) bool { return r.Path == path }) {
		found = slices.DeleteFunc(found, func(r *api.Route) bool { return r.Path != path })
	}
	if len(found) == 0 {
		return helpOfParent(h, q, path)
	}
	d := h.Docs[found[0].Path]
	var b strings.Builder
	fmt.Fprintf(&b, "Request:        %s\nMatching Route: /%s\n\n%s\n", path, found[0].Path, d.Summary(found[0].Path))
	writeFields(&b, "PARAMETERS", d.Body)
	writeFields(&b, "QUERY", d.Query)
	b.WriteString("\n## OPERATIONS\n\n")
	for _, line := range found {
		fmt.Fprintf(&b, "    %s: %s\n", strings.Join(line.Methods, ", "), needs(line))
	}
	return api.Show(HelpAnswer{b.String(), []string{}, document(h, found)})
}

// methodHelp describes the auth methods by type.
var methodHelp = map[string]string{
	"approle": "AppRole: logins of programs by a role id and a secret id. It has the paths login, role/ and tidy/.",
	"cert": "TLS certificates: logins by the client certificate of the connection. It has the paths login, certs/, " +
		"crls/ and config.",
	"jwt": "JWT and OIDC: logins by a signed token, or by a browser. It has the paths login, " +
		"oidc/, config and role/.",
	"kubernetes": "Kubernetes: logins of pods by the token of their service account. It has the paths login, config and " +
		"role/.",
	"userpass": "User names and passwords. It has the paths login/ and users/.",
}

// helpOfParent describes a path above routes, such as sys and auth/token, by listing them; and
// paths of auth methods by their type.
func helpOfParent(h *api.Handler, q *api.Request, path string) (*api.Answer, error) {
	var below []string
	for i := range h.Lines {
		if name, ok := strings.CutPrefix(h.Lines[i].Path, path+"/"); ok && !slices.Contains(below, name) {
			below = append(below, name)
		}
	}
	if len(below) > 0 {
		slices.Sort(below)
		text := fmt.Sprintf("Request:        %s\n\n## PATHS\n\n    %s\n", path, strings.Join(below, "\n    "))
		return api.Show(HelpAnswer{text, below, map[string]any{}})
	}
	rest, ok := strings.CutPrefix(q.Path, api.AuthPath)
	if !ok {
		return nil, api.ErrNoPath
	}
	_, m, rest, err := q.Role.AuthMethods().Route(strings.TrimSuffix(rest, "/") + "/")
	if err != nil {
		return nil, err
	}
	kind := m.Type
	if kind == "oidc" {
		kind = "jwt"
	}
	text := fmt.Sprintf("Request:        %s\nMatching Route: auth/%s*\n\n%s\n", rest, m.Path, methodHelp[kind])
	return api.Show(HelpAnswer{text, []string{}, map[string]any{}})
}

func writeFields(b *strings.Builder, title string, fields []api.DocField) {
	if len(fields) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, f := range fields {
		fmt.Fprintf(b, "    %s (%s)\n        %s\n", f[0], f[1], f[2])
	}
}

// needs says which token a route needs.
func needs(r *api.Route) string {
	if r.Capability == 0 {
		return r.Access.String()
	}
	out := "a token with " + r.Capability.String()
	if r.Sudo {
		out += " and sudo"
	}
	if r.Access == api.OptionalToken {
		out += ", or none"
	}
	return out
}

// mountHelp describes the backends by type.
var mountHelp = map[string]string{
	"kv": "Key-value store: secrets at any path. Version 2 keeps previous versions. It has the paths data/, " +
		"metadata/, delete/, undelete/ and destroy/.",
	"generic":   "Key-value store, version 1: the old name of type kv. Secrets at any path.",
	"cubbyhole": "Cubbyhole: secrets of one token, which no other token can read, and which end with the token.",
}

func helpOfMount(h *api.Handler, q *api.Request) (*api.Answer, error) {
	_, m, rest, err := q.Role.Mounts().Route(q.Path)
	if err != nil {
		return nil, err
	}
	text := mountHelp[m.Type]
	if text == "" {
		text = "A mount of type " + m.Type + "."
	}
	return api.Show(HelpAnswer{
		fmt.Sprintf("Request:        %s\nMatching Route: %s*\n\n%s\n", rest, m.Path, text), []string{}, map[string]any{},
	})
}
