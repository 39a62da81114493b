package ui

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/secret"
)

// loginData is the login page.
type loginData struct {
	Method, Mount, User, Role string

	Mounts      []authMount // that may be shown to strangers, and the standard ones
	Certificate bool        // the browser sent a client certificate
}

type authMount struct{ Path, Type string }

func (u *UI) loginPage(w http.ResponseWriter, r *http.Request) {
	if u.Sessions.find(r) != nil {
		u.redirect(w, "/ui/")
		return
	}
	u.showLogin(w, r, loginData{Method: "token"}, nil, r.URL.Query().Get("next"))
}

// toLogin sends the browser to the login page, and back after it.
func (u *UI) toLogin(w http.ResponseWriter, r *http.Request) {
	u.redirect(w, "/ui/login?next="+url.QueryEscape(r.URL.Path))
}

func (u *UI) showLogin(w http.ResponseWriter, r *http.Request, d loginData, p *problem, next string) {
	d.Certificate = r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	d.Mounts = u.loginMounts(&query{u: u, r: r})
	u.show(w, r, "login", view{Title: "Sign in", Page: "login", Problem: p, Back: ownPath(next), Data: d,
		CLI: []string{"sealgate login", "sealgate login -method=userpass username=NAME"}})
}

// loginMounts lists the auth methods that the server shows to everybody.
func (u *UI) loginMounts(q *query) []authMount {
	var visible struct {
		Auth map[string]struct{ Type string }
	}
	if q.get("sys/internal/ui/mounts", &visible) != nil {
		return nil // sealed: the page still has its form, and the status page has the reason
	}
	var all []authMount
	for path, m := range visible.Auth {
		if m.Type == "userpass" || m.Type == "cert" {
			all = append(all, authMount{Path: strings.TrimSuffix(path, "/"), Type: m.Type})
		}
	}
	slices.SortFunc(all, func(a, b authMount) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// ownPath returns a path of the UI, and the status page for anything else: an address of another
// site is never followed.
func ownPath(next string) string {
	p, err := url.Parse(next)
	if err != nil || p.Scheme != "" || p.Host != "" || !strings.HasPrefix(p.Path, "/ui/") ||
		strings.ContainsAny(next, "\\\r\n") {
		return "/ui/"
	}
	return p.EscapedPath()
}

// tokenData is a token's own data.
type tokenData struct {
	DisplayName string `json:"display_name"`
}

func (u *UI) login(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r}
	d := loginData{Method: f.text("method"), Mount: strings.Trim(f.text("mount"), "/"), User: f.text("username")}
	token, made, err := q.tokenBy(d, f)
	if err != nil {
		u.showLogin(w, r, d, loginProblem(err), f.text("next"))
		return
	}
	if err := u.begin(w, r, token, made); err != nil {
		u.showLogin(w, r, d, loginProblem(err), f.text("next"))
		return
	}
	u.redirect(w, ownPath(f.text("next")))
}

// begin begins a session with a token that the API accepts. A session that the browser had ends.
func (u *UI) begin(w http.ResponseWriter, r *http.Request, token string, made bool) error {
	q := &query{u: u, r: r}
	var self tokenData
	a, err := q.do(ask{method: http.MethodGet, path: "auth/token/lookup-self", token: token})
	if err == nil {
		err = a.decode(&self)
	}
	if err != nil {
		return err
	}
	u.Sessions.drop(r)
	u.Sessions.add(w, &session{
		token: secret.Copy([]byte(token)), name: self.DisplayName, made: made,
	})
	return nil
}

// tokenBy returns the token that was typed, or that a login gives.
func (q *query) tokenBy(d loginData, f *form) (token string, made bool, err error) {
	var o object
	var path string
	switch d.Method {
	case "token":
		if token = string(f.secret("token")); token == "" {
			return "", false, &problem{Status: http.StatusBadRequest, Text: "Enter a token.", Field: "token"}
		}
		return token, false, nil
	case "userpass":
		if d.User == "" {
			return "", false, &problem{Status: http.StatusBadRequest, Text: "Enter a user name.", Field: "username"}
		}
		path = "auth/" + cmp.Or(d.Mount, "userpass") + "/login/" + d.User
		o.secret("password", f.secret("password"))
	case "cert":
		path = "auth/" + cmp.Or(d.Mount, "cert") + "/login"
		if name := f.text("username"); name != "" {
			o.text("name", name)
		}
	default:
		return "", false, &problem{Status: http.StatusBadRequest, Text: "Choose how to sign in.", Field: "method"}
	}
	body := o.json()
	defer clear(body)
	a, err := q.do(ask{method: http.MethodPost, path: path, body: body})
	if err != nil {
		return "", false, err
	}
	defer clear(a.body)
	var out struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	if err := a.decodeWhole(&out); err != nil {
		return "", false, err
	}
	if out.Auth.ClientToken == "" {
		return "", false, errors.New("the login gave no token; it may need a second factor, which only the command line has")
	}
	return out.Auth.ClientToken, true, nil
}

// loginProblem says no more than the API did.
func loginProblem(err error) *problem {
	p := problemOf(err)
	if p.Policy != "" {
		p.Text, p.Policy = "The server does not accept this token: it is unknown, expired or revoked.", ""
	}
	return p
}

func (u *UI) logout(w http.ResponseWriter, r *http.Request, _ *form) {
	s := u.Sessions.find(r)
	if s == nil {
		u.redirect(w, "/ui/")
		return
	}
	q := &query{u: u, r: r, s: s}
	var p *problem
	if s.made {
		if err := q.post("auth/token/revoke-self", map[string]any{}, nil); err != nil {
			p = problemOf(err)
			p.Text = "You are signed out, but the token of this session was not revoked: " + p.Text
		}
	}
	u.Sessions.end(w, r)
	if p != nil {
		u.fail(w, r, p)
		return
	}
	u.redirect(w, "/ui/")
}

// keepAlive counts as use of the session.
func (u *UI) keepAlive(w http.ResponseWriter, r *http.Request) {
	if u.Sessions.find(r) == nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
