package ui

import (
	"net/http"
	"net/url"
	"strings"
)

// help shows the help of an API path, as "sealgate path-help" does.
func (u *UI) help(w http.ResponseWriter, r *http.Request, s *session) {
	path := strings.Trim(r.URL.Query().Get("path"), "/")
	q := &query{u: u, r: r, s: s}
	v := view{Title: "Help", CLI: []string{"sealgate path-help " + path}}
	var d struct{ Help string }
	a, err := q.do(ask{method: http.MethodGet, path: path, params: url.Values{"help": {"1"}}})
	if err == nil {
		err = a.decode(&d)
	}
	if err != nil {
		v.Problem = problemOf(err)
		v.Problem.Help = "" // it is this page
	}
	v.Data = map[string]string{"Path": path, "Help": d.Help}
	u.show(w, r, "help", v)
}
