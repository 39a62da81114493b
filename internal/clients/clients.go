// Package clients lists the calls that known clients of transit and kv make, and the least policy
// that each needs. `policy template`, `operator tenant` and `doctor client` use it.
//
// It guarantees that a probe of a step changes no data: a step that would is marked, and only its
// capabilities can be asked.
//
// It does not guarantee that another version of a client makes no other calls.
package clients

import (
	"fmt"
	"slices"
	"strings"
)

// Step is one kind of request. Paths have the placeholders <mount> and <key>.
type Step struct {
	About  string // "encrypt"
	Method string // of the probe
	Path   string
	Needs  []string       // capabilities
	Body   map[string]any // of the probe; the string "<x>" stands for the field x of an earlier answer
	Keep   []string       // fields of the answer that later steps use
	// Changes is set if the request changes data: it is never sent as a probe.
	Changes bool
	// Optional says what the client does not do without the step; "" means that the client needs it.
	Optional string
}

// Client is a program or library.
type Client struct {
	Name       string
	About      string
	Mount, Key string // the usual ones; Key is a key of transit, or a secret's path in kv
	Steps      []Step
	Note       string // what an operator must know beside the policy
}

// All are the known clients, by name.
func All() []Client { return slices.Clone(table) }

// Find returns a client by its name.
func Find(name string) (Client, bool) {
	i := slices.IndexFunc(table, func(c Client) bool { return c.Name == name })
	if i < 0 {
		return Client{}, false
	}
	return table[i], true
}

// At is the client with its placeholders filled.
func (c Client) At(mount, key string) Client {
	if mount == "" {
		mount = c.Mount
	}
	if key == "" {
		key = c.Key
	}
	c.Mount, c.Key = strings.Trim(mount, "/"), strings.Trim(key, "/")
	fill := strings.NewReplacer("<mount>", c.Mount, "<key>", c.Key)
	c.Steps = slices.Clone(c.Steps)
	for i := range c.Steps {
		c.Steps[i].Path = fill.Replace(c.Steps[i].Path)
	}
	c.Note = fill.Replace(c.Note)
	return c
}

// Line is the line of a policy that allows a step.
func (s Step) Line() string { return line(s.Path, s.Needs) }

func line(path string, needs []string) string {
	quoted := make([]string, len(needs))
	for i, n := range needs {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return fmt.Sprintf("path %q { capabilities = [%s] }", path, strings.Join(quoted, ", "))
}

// Policy is the least policy with which the client works. What only some uses need is a comment.
func (c Client) Policy() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s: %s\n", c.Name, c.About)
	merged := map[string][]string{}
	var order []string
	for _, s := range c.Steps {
		if s.Optional != "" {
			continue
		}
		if merged[s.Path] == nil {
			order = append(order, s.Path)
		}
		for _, n := range s.Needs {
			if !slices.Contains(merged[s.Path], n) {
				merged[s.Path] = append(merged[s.Path], n)
			}
		}
	}
	for _, path := range order {
		out.WriteString(line(path, merged[path]) + "\n")
	}
	for _, s := range c.Steps {
		if s.Optional != "" {
			fmt.Fprintf(&out, "# %s:\n# %s\n", s.Optional, s.Line())
		}
	}
	return out.String()
}
