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

// oidcWait is how long somebody may take to log in at the provider: the server's own bound.
const oidcWait = 5 * time.Minute

// callbackPath is where browsers are sent back to, by all clients of this method.
const callbackPath = "/oidc/callback"

// loginOIDC lets somebody log in with his browser, which brings the provider's answer to a listener of this program.
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
		return nil, &localError{fmt.Sprintf("cannot listen for the browser: %v. Another port may do: port=NUMBER", err)}
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
			l.errorf("The browser could not be opened (%v): open the address above in one yourself.\n", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), oidcWait)
	defer cancel()
	answer, err := visit.wait(ctx)
	if err != nil {
		return nil, err
	}
	answer.Set("client_nonce", clientNonce)
	return ask(client, "auth/"+l.mount+callbackPath, answer)
}

// oidcOptions are where the browser is to come back to.
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
		{"role", "", &o.role}, {"listenaddress", "localhost", &o.listen}, {"port", "8250", &o.port}, {"callbackhost", "localhost", &o.host},
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

// authURL asks the server where to send the browser.
func (l *loginRun) authURL(client *api.Client, o *oidcOptions, nonce string) (string, error) {
	data := map[string]any{"role": o.role, "redirect_uri": o.redirect(), "client_nonce": nonce}
	wrap := client.CurrentWrappingLookupFunc()
	client.SetWrappingLookupFunc(unwrapped) // only the login itself is to be wrapped
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
		return "", &localError{fmt.Sprintf("unable to authorize role %q with redirect_uri %q: check that the role exists, and that its "+
			"allowed_redirect_uris has this address", o.role, o.redirect())}
	}
	return at, nil
}

// browse opens an address as the desktop does.
func (l *loginRun) browse(at string) error {
	if l.env.Browse != nil {
		return l.env.Browse(at)
	}
	if u, err := url.Parse(at); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("it is no web address")
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
		return errors.New("there is no " + name)
	}
	go func() { _ = cmd.Wait() }() // what became of it shows in the browser
	return nil
}

// visit is the listener that waits for a browser to come back from the provider.
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
			http.Error(w, "This is not the end of a login.", http.StatusBadRequest)
			return
		}
		got := url.Values{}
		for _, name := range []string{"state", "code", "error"} {
			if v := r.Form.Get(name); v != "" {
				got.Set(name, v)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "Back to the command line: it ends the login, and tells what came of it. This window can be closed.")
		select {
		case came <- got:
		default: // a second visit
		}
	})
	v := &visit{&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, came, make(chan error, 1)}
	go func() { v.ended <- v.server.Serve(listener) }()
	return v
}

// close ends the listener; a browser that still reads has a second.
func (v *visit) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := v.server.Shutdown(ctx); err != nil {
		_ = v.server.Close() // nothing more to be done
	}
}

// wait gives what the browser brings.
func (v *visit) wait(ctx context.Context) (url.Values, error) {
	select {
	case got := <-v.came:
		return got, nil
	case err := <-v.ended:
		return nil, err
	case <-ctx.Done():
		return nil, &localError{fmt.Sprintf("nobody came back from the provider within %s", oidcWait)}
	}
}
