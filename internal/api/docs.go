package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/mount"
)

// Doc documents a path of the table: its purpose, and the fields that it takes.
type Doc struct {
	Text  string
	Param string     // what the "*" at the end stands for; "" is "path"
	Body  []DocField // of writes
	Query []DocField // of reads
	Empty bool       // a write answers 204
	Read  bool       // a write answers 200 always
	Open  bool       // all fields are accepted
	Later bool       // a write answers 202: it runs in the background
}

// DocField is the name, the type and the text of a field. The type is one of JSON Schema's, "list"
// (of strings), "duration" (seconds, or a string such as "90s"), or "any".
type DocField [3]string

func (d Doc) PathParam() string {
	if d.Param == "" {
		return "path"
	}
	return d.Param
}

// Summary returns the purpose of a path; a path without a text is named by its words.
func (d Doc) Summary(path string) string {
	if d.Text != "" {
		return d.Text
	}
	return strings.NewReplacer("/", " ", "-", " ", "*", "").Replace(path)
}

func Merged(all ...map[string]Doc) map[string]Doc {
	out := map[string]Doc{}
	for _, m := range all {
		for path, d := range m {
			out[path] = d
		}
	}
	return out
}

// ignored returns warnings for fields that this path does not have, and for those whose value the
// path gives.
func (h *Handler) ignored(q *Request) []string {
	d, ok := h.Docs[q.Route.Path]
	if !ok || d.Open || q.Route.Style == BareStyle || q.Op != mount.Update && q.Op != mount.Create {
		return nil
	}
	var unknown, replaced []string
	_, star := strings.CutSuffix(q.Route.Path, "*")
	for name := range q.Data {
		switch {
		case star && name == d.PathParam():
			replaced = append(replaced, name)
		case !slices.ContainsFunc(d.Body, func(f DocField) bool { return f[0] == name }):
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	var out []string
	if len(unknown) > 0 {
		out = append(out, fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", unknown))
	}
	if len(replaced) > 0 {
		out = append(out, fmt.Sprintf("Endpoint replaced the value of these parameters with the values captured from the "+
			"endpoint's path: %v", replaced))
	}
	return out
}
