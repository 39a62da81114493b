package ui

import (
	"crypto/rand"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// Config configures a UI.
type Config struct {
	API      http.Handler // answers below /v1/, with authorisation and audit
	Sessions *Sessions    // shared by all listeners: a browser's cookie is the same on all ports
	Log      *slog.Logger
	Version  string
	Now      func() time.Time
}

// UI serves pages below /ui/ and passes every other request to the API.
type UI struct {
	Config
	mux   *http.ServeMux
	guard *http.CrossOriginProtection
}

// New returns the handler of one listener.
func New(c Config) *UI {
	u := &UI{Config: c, mux: http.NewServeMux(), guard: http.NewCrossOriginProtection()}
	u.mux.HandleFunc("GET /ui/static/{name}", u.asset)
	u.mux.HandleFunc("GET /ui/{$}", u.status)
	u.mux.HandleFunc("GET /ui/login", u.loginPage)
	u.mux.HandleFunc("POST /ui/login", u.form(u.login))
	u.mux.HandleFunc("POST /ui/logout", u.form(u.logout))
	u.mux.HandleFunc("POST /ui/login/oidc", u.form(u.oidcStart))
	u.mux.HandleFunc("GET /ui/oidc/{mount...}", u.oidcBack)
	u.mux.HandleFunc("GET /ui/session", u.keepAlive)
	u.mux.HandleFunc("GET /ui/unseal", u.unsealPage)
	u.mux.HandleFunc("POST /ui/unseal", u.form(u.unseal))
	u.mux.HandleFunc("GET /ui/break-glass", u.breakGlassPage)
	u.mux.HandleFunc("POST /ui/break-glass", u.form(u.breakGlass))
	u.mux.HandleFunc("GET /ui/prove", u.provePage)
	u.mux.HandleFunc("POST /ui/prove", u.form(u.prove))
	u.mux.HandleFunc("GET /ui/ceremony", u.ceremonies)
	u.mux.HandleFunc("GET /ui/ceremony/{kind}", u.ceremonyPage)
	u.mux.HandleFunc("GET /ui/ceremony/{kind}/progress", u.ceremonyProgress)
	u.mux.HandleFunc("GET /ui/keys/progress", u.keysProgress)
	u.mux.HandleFunc("POST /ui/ceremony/{kind}/share", u.form(u.giveShare))
	u.mux.HandleFunc("POST /ui/ceremony/{kind}/verify", u.form(u.verifyShare))
	u.mux.HandleFunc("GET /ui/secrets/{$}", u.signedIn(u.kvMounts))
	u.mux.HandleFunc("GET /ui/secrets/{path...}", u.signedIn(u.kvShow))
	u.mux.HandleFunc("POST /ui/secrets/{path...}", u.form(u.kvWrite))
	u.mux.HandleFunc("GET /ui/help", u.signedIn(u.help))
	u.mux.HandleFunc("POST /ui/snapshot", u.form(u.snapshot))
	u.mux.HandleFunc("GET /ui/{page}", u.signedIn(u.page))
	u.mux.HandleFunc("POST /ui/do/{page}/{action}", u.form(u.act))
	u.mux.HandleFunc("/ui/", u.notFound)
	return u
}

func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/" || r.URL.Path == "/ui":
		w.Header().Set("Location", "/ui/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case strings.HasPrefix(r.URL.Path, "/ui/"):
		protect(w.Header())
		u.mux.ServeHTTP(w, r)
	default:
		u.API.ServeHTTP(w, r)
	}
}

// contentPolicy allows what this server itself serves, and no inline script or style.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// protect sets the headers of every answer.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

// asset serves the style sheet and the module.
func (u *UI) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	raw, err := static.ReadFile("static/" + name)
	if err != nil {
		u.notFound(w, r)
		return
	}
	kind := "text/css; charset=utf-8"
	switch {
	case strings.HasSuffix(name, ".mjs"):
		kind = "text/javascript; charset=utf-8"
	case strings.HasSuffix(name, ".svg"):
		kind = "image/svg+xml"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(raw) // the browser is gone; there is nobody to report it to
}

func (u *UI) notFound(w http.ResponseWriter, r *http.Request) {
	u.fail(w, r, &problem{Status: http.StatusNotFound, Text: "There is no such page."})
}

// random returns a new random text of 256 bits.
func random() string { return rand.Text() + rand.Text() }

// form guards a handler of a POST: it refuses other origins, reads the form, and wipes it
// afterwards.
func (u *UI) form(handle func(http.ResponseWriter, *http.Request, *form)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := u.guard.Check(r); err != nil {
			u.fail(w, r, &problem{Status: http.StatusForbidden,
				Text: "This form was sent from another site, so nothing was done. Open the page here, and send it again."})
			return
		}
		f, err := readForm(r)
		if err != nil {
			p := &problem{Status: http.StatusBadRequest, Text: "The form cannot be read: " + err.Error()}
			if errors.As(err, new(*http.MaxBytesError)) {
				p = &problem{Status: http.StatusRequestEntityTooLarge, Text: "The form is larger than 2 MiB."}
			}
			u.fail(w, r, p)
			return
		}
		defer f.wipe()
		if !validFormToken(r, f) {
			u.fail(w, r, &problem{Status: http.StatusForbidden, Text: "This form is out of date, so nothing was done. " +
				"Go back, reload the page, and send it again. Cookies must be allowed, and the address must begin with https " +
				"(or be on this machine)."})
			return
		}
		handle(w, r, f)
	}
}

// signedIn sends a browser without a session to the login page.
func (u *UI) signedIn(handle func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := u.Sessions.find(r)
		if s == nil {
			u.toLogin(w, r)
			return
		}
		handle(w, r, s)
	}
}
