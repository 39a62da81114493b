package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/mount"
)

// helpRoute answers HELP, and GET with ?help=1, on every path: a token is looked at, and needs no capability.
var helpRoute = route{Methods: get, Path: "*", Access: anybody, Style: bareStyle, Here: true, Handle: (*handler).showHelp}

type helpAnswer struct {
	Help    string         `json:"help"`
	SeeAlso []string       `json:"see_also"`
	OpenAPI map[string]any `json:"openapi"`
}

// showHelp tells what a path is for, from the table of routes.
func (h *handler) showHelp(ctx context.Context, q *request) (*answer, error) {
	q.readToken()
	if _, err := q.state.Tokens().Identify(ctx, q.token); err != nil {
		return nil, err
	}
	if !ours(q.path) {
		return h.helpOfMount(q)
	}
	path := strings.TrimSuffix(q.path, "/")
	var found []*route
	for i := range h.lines {
		line := &h.lines[i]
		before, star := strings.CutSuffix(line.Path, "*")
		if line.Path == path || star && strings.HasPrefix(path, before) && len(path) > len(before) {
			found = append(found, line)
		}
	}
	// An exact path is meant before one that ends in "*".
	if slices.ContainsFunc(found, func(r *route) bool { return r.Path == path }) {
		found = slices.DeleteFunc(found, func(r *route) bool { return r.Path != path })
	}
	if len(found) == 0 {
		return nil, errNoPath
	}
	d := h.docs[found[0].Path]
	var b strings.Builder
	fmt.Fprintf(&b, "Request:        %s\nMatching Route: /%s\n\n%s\n", path, found[0].Path, d.text(found[0].Path))
	writeFields(&b, "PARAMETERS", d.Body)
	writeFields(&b, "QUERY", d.Query)
	b.WriteString("\n## OPERATIONS\n\n")
	for _, line := range found {
		fmt.Fprintf(&b, "    %s: %s\n", strings.Join(line.Methods, ", "), needs(line))
	}
	return shown(helpAnswer{b.String(), []string{}, h.document(found)})
}

func writeFields(b *strings.Builder, title string, fields []docField) {
	if len(fields) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, f := range fields {
		fmt.Fprintf(b, "    %s (%s)\n        %s\n", f[0], f[1], f[2])
	}
}

// needs says who may.
func needs(r *route) string {
	if r.Capability == 0 {
		return r.Access.String()
	}
	out := "a token with " + r.Capability.String()
	if r.Sudo {
		out += " and sudo"
	}
	if r.Access == tokenIfAny {
		out += ", or none"
	}
	return out
}

// mountHelp is what the backends are for, by type.
var mountHelp = map[string]string{
	"kv":        "Key-value: secrets at paths of your own choosing. Version 2 keeps former versions, below data/, metadata/, delete/, undelete/ and destroy/.",
	"cubbyhole": "Cubbyhole: each token's own secrets, which nobody else can read and which go with the token.",
}

func (h *handler) helpOfMount(q *request) (*answer, error) {
	_, m, rest, err := q.state.Mounts().Route(q.path)
	if err != nil {
		return nil, err
	}
	text := mountHelp[m.Type]
	if text == "" {
		text = "A mount of type " + m.Type + "."
	}
	return shown(helpAnswer{
		fmt.Sprintf("Request:        %s\nMatching Route: %s*\n\n%s\n", rest, m.Path, text), []string{}, map[string]any{},
	})
}

// ignored are the warnings of fields that have no meaning on this path, and of those whose value the path itself gives.
func (h *handler) ignored(q *request) []string {
	d, ok := h.docs[q.route.Path]
	if !ok || d.Open || q.route.Style == bareStyle || q.op != mount.Update && q.op != mount.Create {
		return nil
	}
	var unknown, replaced []string
	_, star := strings.CutSuffix(q.route.Path, "*")
	for name := range q.data {
		switch {
		case star && name == d.param():
			replaced = append(replaced, name)
		case !slices.ContainsFunc(d.Body, func(f docField) bool { return f[0] == name }):
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	var out []string
	if len(unknown) > 0 {
		out = append(out, fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", unknown))
	}
	if len(replaced) > 0 {
		out = append(out, fmt.Sprintf("Endpoint replaced the value of these parameters with the values captured from the endpoint's path: %v", replaced))
	}
	return out
}
