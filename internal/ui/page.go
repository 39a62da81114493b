package ui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// page is an operator's page: what it reads, and what can be done there.
type page struct {
	slug, title, group string
	intro              string
	cli                []string
	load               func(*query) (any, error)
	actions            []action
}

// action is a form that makes one request.
type action struct {
	Name, Title string
	Intro       string
	Method      string // POST if empty
	Path        string // {field} stands for a field
	Capability  string // update if empty
	Sudo        bool
	CLI         string // the command that does the same; <field> stands for a field
	Fields      []field
	Danger      bool
	Row         bool   // it belongs to one object: its form stands beside that object
	Done        string // the message afterwards
	Confirm     string // a word to type first
	Result      string // names the template that shows the answer; "" for the message alone
	prepare     func(map[string]any) error
	finish      func(q *query, f *form, answer map[string]any) (map[string]any, error) // of the Result
}

// field is one input.
type field struct {
	Name, Label, Hint string
	Kind              string // text, number, lines, area, flag, choice, password, hidden
	Values            []string
	Required          bool
	Value             string // at first
	inPath            bool
	omit              bool // not sent when empty
}

// pageData is a page with its actions as this token may use them.
type pageData struct {
	Slug, Intro string
	Data        any
	Actions     []shownAction
	Result      map[string]any // of the action Done
	ResultName  string
}

// shownAction is an action, with what is typed and whether the token may do it.
type shownAction struct {
	action
	Page    string
	Policy  string // the rule that is missing; "" where it is allowed
	Command string
	Typed   map[string]string
	Tried   bool // it failed: its form is open
}

// Row returns the action of a name, for one object, or nil.
func (d pageData) Row(name string) *shownAction {
	i := slices.IndexFunc(d.Actions, func(a shownAction) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Actions[i]
}

// row is an action for one object, with the values of its hidden fields.
func row(a *shownAction, form string, pairs ...string) (map[string]any, error) {
	if a == nil {
		return nil, fmt.Errorf("ui: no such action")
	}
	values := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return map[string]any{"Action": a, "Form": form, "Values": values}, nil
}

func findPage(slug string) *page {
	i := slices.IndexFunc(pages, func(p *page) bool { return p.slug == slug })
	if i < 0 {
		return nil
	}
	return pages[i]
}

func (u *UI) page(w http.ResponseWriter, r *http.Request, s *session) {
	p := findPage(r.PathValue("page"))
	if p == nil {
		u.notFound(w, r)
		return
	}
	u.showPage(w, &query{u: u, r: r, s: s}, p, pageData{}, nil, nil)
}

// showPage renders a page, with the problem or the result of an action.
func (u *UI) showPage(w http.ResponseWriter, q *query, p *page, d pageData, typed *shownAction, failed error) {
	v := view{Title: strings.ToUpper(p.title[:1]) + p.title[1:], Page: p.slug, CLI: p.cli}
	d.Slug, d.Intro = p.slug, p.intro
	var err error
	d.Data, err = p.load(q)
	if failed == nil {
		failed = err
	}
	if failed != nil {
		v.Problem = problemOf(failed)
	}
	if d.Actions, err = q.actions(p, typed); err != nil && v.Problem == nil {
		v.Problem = problemOf(err)
	}
	v.Data = d
	u.show(w, q.r, p.slug, v)
}

// actions are the page's actions, each with what its policy lacks.
func (q *query) actions(p *page, typed *shownAction) ([]shownAction, error) {
	var paths []string
	for _, a := range p.actions {
		if !a.Row && !strings.Contains(a.Path, "{") {
			paths = append(paths, a.Path)
		}
	}
	can, err := q.capabilities(paths)
	var all []shownAction
	for _, a := range p.actions {
		s := shownAction{action: a, Page: p.slug, Command: a.CLI, Typed: map[string]string{}}
		for _, f := range a.Fields {
			s.Typed[f.Name] = f.Value
		}
		if typed != nil && typed.Name == a.Name {
			s.Typed, s.Tried = typed.Typed, true
		}
		if names, known := can[a.Path]; known && !a.allowed(names) {
			s.Policy = policyLine(a.Path, a.capability(), a.Sudo)
		}
		all = append(all, s)
	}
	return all, err
}

func (a action) capability() string {
	if a.Capability != "" {
		return a.Capability
	}
	return capabilityOf(a.Method)
}

func (a action) allowed(names []string) bool {
	if slices.Contains(names, "root") {
		return true
	}
	return slices.Contains(names, a.capability()) && (!a.Sudo || slices.Contains(names, "sudo"))
}

// act does an action.
func (u *UI) act(w http.ResponseWriter, r *http.Request, f *form) {
	s := u.Sessions.find(r)
	if s == nil {
		u.toLogin(w, r)
		return
	}
	q := &query{u: u, r: r, s: s}
	p := findPage(r.PathValue("page"))
	if p == nil {
		u.notFound(w, r)
		return
	}
	i := slices.IndexFunc(p.actions, func(a action) bool { return a.Name == r.PathValue("action") })
	if i < 0 {
		u.notFound(w, r)
		return
	}
	a := p.actions[i]
	done := &shownAction{action: a, Typed: a.typed(f)}
	result, err := q.perform(a, f)
	if err != nil {
		u.showPage(w, q, p, pageData{}, done, err)
		return
	}
	if a.Result != "" {
		u.showPage(w, q, p, pageData{Result: result, ResultName: a.Result}, nil, nil)
		return
	}
	u.Sessions.notify(s, a.Done)
	u.redirect(w, "/ui/"+p.slug)
}

// typed is what was typed, to show it again; passwords are not.
func (a action) typed(f *form) map[string]string {
	m := map[string]string{}
	for _, one := range a.Fields {
		if one.Kind != "password" {
			m[one.Name] = f.text(one.Name)
		}
	}
	return m
}

// perform makes the action's request, and returns what the answer shows.
func (q *query) perform(a action, f *form) (map[string]any, error) {
	path, body, err := a.request(f)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	defer clear(raw)
	one := ask{method: a.Method, path: path, body: raw}
	if one.method == "" {
		one.method = http.MethodPost
	}
	if one.method == http.MethodDelete {
		one.body = nil
	}
	got, err := q.do(one)
	if err != nil {
		return nil, a.explain(err, path)
	}
	out := map[string]any{}
	if a.Result != "" {
		if err := got.decodeWhole(&out); err != nil {
			return nil, err
		}
	}
	clear(got.body)
	if a.finish != nil {
		return a.finish(q, f, out)
	}
	return out, nil
}

// explain names the rule that is missing, with what the route needs.
func (a action) explain(err error, path string) error {
	p := problemOf(err)
	if p.Policy != "" {
		p.Policy = policyLine(path, a.capability(), a.Sudo)
	}
	return p
}

// request builds path and body from the form.
func (a action) request(f *form) (string, map[string]any, error) {
	path, body := a.Path, map[string]any{}
	for _, one := range a.Fields {
		text := f.text(one.Name)
		if one.Required && strings.TrimSpace(text) == "" {
			return "", nil, &problem{Status: http.StatusBadRequest, Text: one.Label + " is needed.",
				Field: a.Name + "-" + one.Name}
		}
		if one.inPath {
			name := strings.Trim(text, "/")
			if name == "" || strings.Contains("/"+name+"/", "/../") {
				return "", nil, &problem{Status: http.StatusBadRequest, Text: one.Label + " is not a name.",
					Field: a.Name + "-" + one.Name}
			}
			path = strings.ReplaceAll(path, "{"+one.Name+"}", name)
			continue
		}
		value, send, err := one.value(text)
		if err != nil {
			return "", nil, &problem{Status: http.StatusBadRequest, Text: err.Error(), Field: a.Name + "-" + one.Name}
		}
		if send {
			body[one.Name] = value
		}
	}
	if a.Confirm != "" && f.text("confirm") != a.Confirm {
		return "", nil, &problem{Status: http.StatusBadRequest, Field: a.Name + "-confirm",
			Text: fmt.Sprintf("Type %q to confirm.", a.Confirm)}
	}
	if a.prepare != nil {
		if err := a.prepare(body); err != nil {
			return "", nil, &problem{Status: http.StatusBadRequest, Text: err.Error()}
		}
	}
	return path, body, nil
}

// value converts what was typed.
func (one field) value(text string) (value any, send bool, err error) {
	switch one.Kind {
	case "flag":
		return text == "on", true, nil
	case "number":
		if text == "" {
			return nil, false, nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, false, fmt.Errorf("%s is not a number", one.Label)
		}
		return n, true, nil
	case "lines":
		list := []string{}
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
		return list, len(list) > 0, nil
	case "blocks":
		return blocks(text), text != "", nil
	}
	if text == "" && one.omit {
		return nil, false, nil
	}
	return text, true, nil
}

// blocks splits keys, one per line or each an armoured block.
func blocks(text string) []string {
	var list []string
	var block strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "-----BEGIN "):
			block.Reset()
			block.WriteString(trimmed + "\n")
		case block.Len() > 0:
			block.WriteString(trimmed + "\n")
			if strings.HasPrefix(trimmed, "-----END ") {
				list = append(list, block.String())
				block.Reset()
			}
		case trimmed != "":
			list = append(list, trimmed)
		}
	}
	return list
}

// snapshot streams a snapshot to the browser.
func (u *UI) snapshot(w http.ResponseWriter, r *http.Request, _ *form) {
	s := u.Sessions.find(r)
	if s == nil {
		u.toLogin(w, r)
		return
	}
	q := &query{u: u, r: r, s: s}
	one, err := q.request(ask{method: http.MethodGet, path: "sys/storage/raft/snapshot"})
	if err != nil {
		u.fail(w, r, problemOf(err))
		return
	}
	d := &download{ResponseWriter: w, name: "sealgate-" + u.Now().UTC().Format("20060102-150405") + ".snap"}
	u.API.ServeHTTP(d, one)
	if d.refused > 0 {
		p := &refusal{ask: ask{method: http.MethodGet, path: "sys/storage/raft/snapshot"}, status: d.refused}
		var e struct{ Errors []string }
		if json.Unmarshal(d.body, &e) == nil {
			p.texts = e.Errors
		}
		u.fail(w, r, problemOf(p))
	}
}

// download passes a success through as a file, and keeps a refusal.
type download struct {
	http.ResponseWriter
	name    string
	begun   bool
	refused int
	body    []byte
	header  http.Header
}

func (d *download) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *download) WriteHeader(status int) {
	if d.begun || d.refused > 0 {
		return
	}
	if status >= http.StatusMultipleChoices {
		d.refused = status
		return
	}
	d.begun = true
	h := d.ResponseWriter.Header()
	h.Set("Content-Type", "application/gzip")
	h.Set("Content-Disposition", "attachment; filename="+url.PathEscape(d.name))
	d.ResponseWriter.WriteHeader(status)
}

func (d *download) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	if d.refused > 0 {
		d.body = append(d.body, p...)
		return len(p), nil
	}
	return d.ResponseWriter.Write(p)
}

// Unwrap lets the API set deadlines of the connection.
func (d *download) Unwrap() http.ResponseWriter { return d.ResponseWriter }
