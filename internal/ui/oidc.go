package ui

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Login by OpenID Connect. The provider sends the browser back from another site, so the cookie
// that binds the answer to this browser cannot be strict; it holds a random value for one login.

const (
	oidcCookie  = "__Host-sealgate-oidc"
	oidcMinutes = 10
)

// oidcData is the page that leads to the provider, or back.
type oidcData struct {
	To   string // the provider's address, or the path after the login
	Back bool   // it is the way back
}

// oidcStart asks the API for the provider's address, and shows it as a link: a form must not
// lead to another site.
func (u *UI) oidcStart(w http.ResponseWriter, r *http.Request, f *form) {
	q := &query{u: u, r: r}
	d := loginData{Method: "oidc", Mount: strings.Trim(f.text("mount"), "/"), Role: f.text("role")}
	nonce := random()
	var out struct {
		URL string `json:"auth_url"`
	}
	mount := cmp.Or(d.Mount, "oidc")
	err := q.post("auth/"+mount+"/oidc/auth_url", map[string]any{
		"role": d.Role, "redirect_uri": origin(r) + "/ui/oidc/" + escapePath(mount), "client_nonce": nonce,
	}, &out)
	if err == nil && out.URL == "" {
		err = &problem{Status: http.StatusBadRequest, Text: fmt.Sprintf("The method gives no address for this role. Its "+
			"allowed_redirect_uris must have %s/ui/oidc/%s.", origin(r), mount)}
	}
	if err != nil {
		u.showLogin(w, r, d, loginProblem(err), f.text("next"))
		return
	}
	c := cookie(oidcCookie, nonce+"."+url.QueryEscape(ownPath(f.text("next"))))
	c.SameSite, c.MaxAge = http.SameSiteLaxMode, int((oidcMinutes * time.Minute).Seconds())
	http.SetCookie(w, c)
	u.show(w, r, "oidc", view{Title: "Sign in at your identity provider", Page: "login", Data: oidcData{To: out.URL}})
}

// oidcBack redeems the code that the provider gave.
func (u *UI) oidcBack(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(oidcCookie)
	if err != nil {
		u.fail(w, r, &problem{Status: http.StatusForbidden, Text: "This login was not begun in this browser, or more than " +
			"ten minutes ago. Sign in again."})
		return
	}
	gone := cookie(oidcCookie, "")
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	nonce, next, _ := strings.Cut(c.Value, ".")
	if next, err = url.QueryUnescape(next); err != nil {
		next = "/ui/"
	}
	params := r.URL.Query()
	if text := params.Get("error"); text != "" {
		u.fail(w, r, &problem{Status: http.StatusForbidden, Text: "The identity provider refused: " + text})
		return
	}
	q := &query{u: u, r: r}
	var out struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	a, err := q.do(ask{method: http.MethodGet, path: "auth/" + strings.Trim(r.PathValue("mount"), "/") + "/oidc/callback",
		params: url.Values{"state": {params.Get("state")}, "code": {params.Get("code")}, "client_nonce": {nonce}}})
	if err == nil {
		err = a.decodeWhole(&out)
		clear(a.body)
	}
	if err == nil {
		err = u.begin(w, r, out.Auth.ClientToken, true)
	}
	if err != nil {
		u.fail(w, r, loginProblem(err))
		return
	}
	// A redirect would still count as coming from the provider, and the strict cookie would stay away.
	u.show(w, r, "oidc", view{Title: "Signed in", Page: "login", Data: oidcData{To: ownPath(next), Back: true}})
}

// origin is the browser's address of this server.
func origin(r *http.Request) string {
	if o := r.Header.Get("Origin"); o != "" && o != "null" {
		return o
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
