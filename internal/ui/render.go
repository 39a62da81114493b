package ui

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// templates are the pages, each with the frame. They are parsed at their first use: that takes
// longer than the rest of the program's initialisation.
var templates = sync.OnceValue(func() map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(template.FuncMap{
		"when": when, "join": strings.Join, "has": slices.Contains[[]string],
		"pathEscape": escapePath, "row": row, "dict": dict,
		"strings": func(all ...string) []string { return all },
		"bars":    bars,
		"times":   times,
		"percent": func(share float64) float64 { return min(300, 3*share) },
	}).ParseFS(templateFiles, "templates/frame.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, file := range files {
		name := strings.TrimSuffix(file.Name(), ".html")
		if name != "frame" && name != "parts" {
			all[name] = template.Must(template.Must(frame.Clone()).ParseFS(templateFiles, "templates/"+file.Name()))
		}
	}
	return all
})

// when renders a time for people: UTC, to the second.
func when(text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.IsZero() {
		return text
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// escapePath escapes each segment of a path.
func escapePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// dict makes a map of names and values, for templates that call templates.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("ui: name %d of a dict is no string", i/2)
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// problem is what went wrong, for the page.
type problem struct {
	Status int
	Text   string
	Policy string // what a policy would have to say; "" if that is not the reason
	Field  string // the field that is wrong; "" for none
	Help   string // the path whose help explains more; "" for none
}

func (p *problem) Error() string { return p.Text }

// problemOf explains an error.
func problemOf(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		return &problem{Status: http.StatusInternalServerError, Text: err.Error()}
	}
	p = &problem{Status: refused.status, Text: refused.Error(), Help: refused.ask.path}
	if refused.status == http.StatusForbidden && strings.Contains(p.Text, "permission denied") {
		p.Text = "Your token may not do this."
		p.Policy = policyLine(refused.ask.path, capabilityOf(refused.ask.method), false)
	}
	return p
}

// capabilityOf is the capability that a method needs, where a route needs no other.
func capabilityOf(method string) string {
	switch method {
	case http.MethodGet:
		return "read"
	case "LIST":
		return "list"
	case http.MethodDelete:
		return "delete"
	}
	return "update"
}

// policyLine is the rule that would allow a request.
func policyLine(path, capability string, sudo bool) string {
	list := fmt.Sprintf("%q", capability)
	if sudo {
		list += `, "sudo"`
	}
	return fmt.Sprintf("path %q {\n  capabilities = [%s]\n}", path, list)
}

// view is the data of the frame around each page.
type view struct {
	Title   string
	Page    string // of the navigation
	Name    string // of the token that is signed in; "" for none
	Form    string // the value that each form repeats
	Notice  string
	Problem *problem
	Groups  []navGroup
	CLI     []string // the commands that do the same
	Version string
	Back    string // where to go after login
	Data    any
}

type navGroup struct {
	Title string
	Items []navItem
}

type navItem struct{ Slug, Title string }

// show renders a page.
func (u *UI) show(w http.ResponseWriter, r *http.Request, name string, v view) {
	s := u.Sessions.find(r)
	v.Form, v.Version = formToken(w, r), u.Version
	if s != nil {
		v.Name = s.name
	}
	if v.Notice == "" {
		v.Notice = u.Sessions.takeNotice(s)
	}
	v.Groups = navigation(s != nil)
	var page bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&page, "frame", v); err != nil {
		u.Log.Error("a page of the UI cannot be rendered", "page", name, "error", err)
		http.Error(w, "This page cannot be shown; the server's log has the reason.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Problem != nil && v.Problem.Status >= 400 {
		w.WriteHeader(v.Problem.Status)
	}
	_, _ = w.Write(page.Bytes()) // the browser is gone; there is nobody to report it to
	clear(page.Bytes())
}

// fail shows a problem on a page of its own.
func (u *UI) fail(w http.ResponseWriter, r *http.Request, p *problem) {
	u.show(w, r, "problem", view{Title: http.StatusText(p.Status), Problem: p})
}

// fragment renders a part of a page, for the module.
func (u *UI) fragment(w http.ResponseWriter, name, part string, data any) {
	var out bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&out, part, data); err != nil {
		u.Log.Error("a part of a page of the UI cannot be rendered", "page", name, "part", part, "error", err)
		http.Error(w, "cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // as in show
}

func (u *UI) redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
