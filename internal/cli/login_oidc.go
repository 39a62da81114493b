package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// oidcWait bounds the login at the provider; the server has the same bound.
const oidcWait = 5 * time.Minute

// callbackPath is the path of the redirect URI; all clients of this method use it.
const callbackPath = "/oidc/callback"

// loginOIDC logs in with a browser, which passes the provider's response to a listener of this
// program.
func loginOIDC(l *loginRun, client *api.Client) (*api.Secret, error) {
	o, err := l.oidcOptions()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 20)
	if _, err := io.ReadFull(cmp.Or[io.Reader](l.env.Rand, rand.Reader), nonce); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(o.listen, o.port))
	if err != nil {
		return nil, &localError{fmt.Sprintf("cannot listen for the browser: %v. Choose another port: port=NUMBER", err)}
	}
	if o.port == "0" {
		_, o.port, _ = net.SplitHostPort(listener.Addr().String())
	}
	visit := serveBrowser(listener)
	defer visit.close()
	clientNonce := base64.RawURLEncoding.EncodeToString(nonce)
	at, err := l.authURL(client, o, clientNonce)
	if err != nil {
		return nil, err
	}
	l.errorf("Complete the login via your OIDC provider. %s:\n\n    %s\n", o.advice(), at)
	if !o.skipBrowser {
		if err := l.browse(at); err != nil {
			l.errorf("Cannot open a browser (%v): open the address above yourself.\n", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), oidcWait)
	defer cancel()
	answer, err := visit.wait(ctx)
	if err != nil {
		return nil, err
	}
	answer.Set("client_nonce", clientNonce)
	return readQuery(client, "auth/"+l.mount+callbackPath, answer)
}

// oidcOptions are the parameters of an OIDC login: the role and the redirect URI.
type oidcOptions struct {
	role, listen, port, host, outer, scheme string
	skipBrowser                             bool
}

func (l *loginRun) oidcOptions() (*oidcOptions, error) {
	o := &oidcOptions{}
	var skip string
	for _, p := range []struct {
		name, unset string
		into        *string
	}{
		{"role", "", &o.role}, {"listenaddress", "localhost", &o.listen}, {"port", "8250", &o.port},
		{"callbackhost", "localhost", &o.host},
		{"callbackport", "", &o.outer}, {"callbackmethod", "http", &o.scheme}, {"skip_browser", "false", &skip},
	} {
		v, err := take(l.data, p.name)
		if err != nil {
			return nil, err
		}
		*p.into = cmp.Or(v, p.unset)
	}
	for _, port := range []string{o.port, cmp.Or(o.outer, "1")} {
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return nil, &localError{"port and callbackport must be numbers from 0 to 65535"}
		}
	}
	var err error
	if o.skipBrowser, err = strconv.ParseBool(skip); err != nil {
		return nil, &localError{"skip_browser must be true or false"}
	}
	if o.scheme != "http" && o.scheme != "https" {
		return nil, &localError{"callbackmethod must be http or https"}
	}
	return o, nil
}

func (o *oidcOptions) redirect() string {
	return o.scheme + "://" + net.JoinHostPort(o.host, cmp.Or(o.outer, o.port)) + callbackPath
}

func (o *oidcOptions) advice() string {
	if o.skipBrowser {
		return "Open this address in a browser"
	}
	return "Launching browser to"
}

// authURL requests the provider's URL from the server.
func (l *loginRun) authURL(client *api.Client, o *oidcOptions, nonce string) (string, error) {
	data := map[string]any{"role": o.role, "redirect_uri": o.redirect(), "client_nonce": nonce}
	wrap := client.CurrentWrappingLookupFunc()
	client.SetWrappingLookupFunc(unwrapped) // -wrap-ttl is for the login itself
	defer client.SetWrappingLookupFunc(wrap)
	s, err := send(client, put, "auth/"+l.mount+"/oidc/auth_url", data)
	if err != nil {
		return "", err
	}
	at := ""
	if s != nil {
		at, _ = s.Data["auth_url"].(string)
	}
	if at == "" {
		return "", &localError{fmt.Sprintf("unable to authorize role %q with redirect_uri %q: check that the role exists, "+
			"and that its "+
			"allowed_redirect_uris contains this address", o.role, o.redirect())}
	}
	return at, nil
}

// browse opens an address as the desktop does.
func (l *loginRun) browse(at string) error {
	if l.env.Browse != nil {
		return l.env.Browse(at)
	}
	if u, err := url.Parse(at); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("it is not a web address")
	}
	name, args := "xdg-open", []string{at}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", at}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return errors.New(name + " not found")
	}
	go func() { _ = cmd.Wait() }() // its exit code says nothing about the login
	return nil
}

// visit is the listener that waits for the redirected browser.
type visit struct {
	server *http.Server
	came   chan url.Values
	ended  chan error
}

func serveBrowser(listener net.Listener) *visit {
	came := make(chan url.Values, 1)
	mux := http.NewServeMux()
	mux.HandleFunc(callbackPath, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		if err := r.ParseForm(); err != nil || r.Form.Get("state") == "" { // not from the provider
			http.Error(w, "This request is not the redirect of a login.", http.StatusBadRequest)
			return
		}
		got := url.Values{}
		for _, name := range []string{"state", "code", "error"} {
			if v := r.Form.Get(name); v != "" {
				got.Set(name, v)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "Return to the command line, which completes the login. You can close this window.")
		select {
		case came <- got:
		default: // a second request
		}
	})
	v := &visit{&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, came, make(chan error, 1)}
	go func() { v.ended <- v.server.Serve(listener) }()
	return v
}

// close stops the listener; a browser that is still reading gets one second.
func (v *visit) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := v.server.Shutdown(ctx); err != nil {
		_ = v.server.Close() // the process is about to end
	}
}

// wait returns the parameters of the redirect.
func (v *visit) wait(ctx context.Context) (url.Values, error) {
	select {
	case got := <-v.came:
		return got, nil
	case err := <-v.ended:
		return nil, err
	case <-ctx.Done():
		return nil, &localError{fmt.Sprintf("the provider did not redirect the browser within %s", oidcWait)}
	}
}
