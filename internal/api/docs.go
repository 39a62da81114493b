package api

import "strings"

// doc is what is known of a path beside its lines in the table of routes: what it is for, and the fields that it takes.
type doc struct {
	Text  string
	Param string     // what the "*" at the end stands for; "path"
	Body  []docField // of writes
	Query []docField // of reads
	Empty bool       // a write answers 204
	Read  bool       // a write answers 200 always
	Open  bool       // any field has a meaning
	Later bool       // a write answers 202: it is done behind the answer
}

// docField is one field. Type is one of JSON Schema's, or "list" (of strings), "duration" (seconds, or a text such as "90s"), or "any".
type docField [3]string

func (d doc) param() string {
	if d.Param == "" {
		return "path"
	}
	return d.Param
}

// text is what a path is for; one without a doc is named by its words.
func (d doc) text(path string) string {
	if d.Text != "" {
		return d.Text
	}
	return strings.NewReplacer("/", " ", "-", " ", "*", "").Replace(path)
}

func merged(all ...map[string]doc) map[string]doc {
	out := map[string]doc{}
	for _, m := range all {
		for path, d := range m {
			out[path] = d
		}
	}
	return out
}
