package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// loginMethod is one way to log in.
type loginMethod struct {
	login func(*loginRun, *api.Client) (*api.Secret, error)
	help  string // what `auth help` prints
}

// loginRun is one login: where it goes, and what the command line gave for it.
type loginRun struct {
	*base
	mount string
	data  map[string]any
}

// localError is a mistake that was found before anything was sent.
type localError struct{ text string }

func (e *localError) Error() string { return e.text }

var loginMethods = map[string]loginMethod{
	"token": {loginToken, `Usage: sealgate login [TOKEN | - | @file] [lookup=false]

  Checks a token that exists already, and keeps it for later commands. Without an argument it is asked for, hidden.

  lookup=false
      Keep the token unchecked.`},
	"userpass": {loginUserpass, `Usage: sealgate login -method=userpass username=NAME [password=...]

  Logs in by a name and a password. Without password= it is asked for, hidden.

  username=<string>
      Name of the user.
  password=<string>
      Password of the user; password=- reads it from standard input, password=@file from a file.`},
	"approle": {loginAppRole, `Usage: sealgate login -method=approle role_id=ID [secret_id=...]

  Logs in as a machine, by the ID of a role and, where the role asks for one, a secret ID.

  role_id=<string>
      ID of the role.
  secret_id=<string>
      Secret ID; secret_id=- reads it from standard input, secret_id=@file from a file.`},
	"cert": {loginCert, `Usage: sealgate login -method=cert -client-cert=FILE -client-key=FILE [name=ROLE]

  Logs in by the TLS client certificate of the connection.

  name=<string>
      Role to log in with; without it, every role that trusts the certificate is tried.`},
	"oidc": {loginOIDC, `Usage: sealgate login -method=oidc [role=ROLE] [port=8250] [listenaddress=localhost] [callbackhost=localhost]
           [callbackport=PORT] [callbackmethod=http] [skip_browser=false]

  Logs in by a browser: it is sent to an OpenID Connect provider, which sends it back to a listener of this
  command. The role's allowed_redirect_uris must have http://localhost:8250/oidc/callback.

  role=<string>
      Role to log in with; the method's default role without it.
  port=<number>, listenaddress=<string>
      Where this command listens; port=0 takes any that is free.
  callbackhost=<string>, callbackport=<number>, callbackmethod=<http or https>
      Where the browser finds the listener, if that is elsewhere.
  skip_browser=<bool>
      Print the address alone, and open no browser.`},
	"jwt": {loginJWT, `Usage: sealgate login -method=jwt [role=ROLE] [jwt=...]

  Logs in by a signed JSON web token. Without jwt= it is asked for, hidden.

  role=<string>
      Role to log in with; the method's default role without it.
  jwt=<string>
      The token; jwt=- reads it from standard input, jwt=@file from a file.`},
}

// take removes a parameter from the data; "" where it is not there.
func take(data map[string]any, name string) (string, error) {
	v, ok := data[name]
	if !ok {
		return "", nil
	}
	delete(data, name)
	switch v := v.(type) {
	case string:
		return strings.TrimRight(v, "\r\n"), nil // of a file or a pipe
	case fmt.Stringer: // a JSON number
		return v.String(), nil
	}
	return "", &localError{fmt.Sprintf("there must be one %s, and it must be text", name)}
}

// secret takes a parameter, or asks for it where there is somebody to ask.
func (l *loginRun) secret(name, question string) (string, error) {
	v, err := take(l.data, name)
	if err != nil || v != "" {
		return v, err
	}
	if v, err = l.prompt(question); err != nil {
		return "", &localError{fmt.Sprintf("%s is needed: %v. Pipe it in: %s=-", name, err, name)}
	}
	return v, nil
}

// post sends the login. What the method does not know by name goes along: the server may.
func (l *loginRun) post(client *api.Client, path string) (*api.Secret, error) {
	return send(client, put, "auth/"+l.mount+path, l.data)
}

func loginUserpass(l *loginRun, client *api.Client) (*api.Secret, error) {
	name, err := take(l.data, "username")
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, &localError{"username is needed: username=NAME"}
	}
	if l.data["password"], err = l.secret("password", "Password (will be hidden): "); err != nil {
		return nil, err
	}
	if name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, &localError{"this username would lead to another path"}
	}
	return l.post(client, "/login/"+name)
}

func loginAppRole(l *loginRun, client *api.Client) (*api.Secret, error) {
	id, err := take(l.data, "role_id")
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, &localError{"role_id is needed: role_id=ID"}
	}
	l.data["role_id"] = id
	secret, err := take(l.data, "secret_id")
	if err != nil {
		return nil, err
	}
	if secret != "" { // a role may do without
		l.data["secret_id"] = secret
	}
	return l.post(client, "/login")
}

func loginCert(l *loginRun, client *api.Client) (*api.Secret, error) { return l.post(client, "/login") }

func loginJWT(l *loginRun, client *api.Client) (*api.Secret, error) {
	var err error
	if l.data["jwt"], err = l.secret("jwt", "JWT (will be hidden): "); err != nil {
		return nil, err
	}
	return l.post(client, "/login")
}

func loginToken(l *loginRun, client *api.Client) (*api.Secret, error) {
	lookup, err := take(l.data, "lookup")
	if err != nil {
		return nil, err
	}
	token, err := l.secret("token", "Token (will be hidden): ")
	if err != nil {
		return nil, err
	}
	token = strings.TrimSpace(token)
	if lookup == "false" || lookup == "0" {
		return &api.Secret{Auth: &api.SecretAuth{ClientToken: token}}, nil
	}
	client.SetToken(token)
	client.SetWrappingLookupFunc(unwrapped)
	s, err := send(client, http.MethodGet, "auth/token/lookup-self", nil)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, nil
	}
	return authOf(token, s), nil
}

// authOf shows a looked-up token as other logins answer.
func authOf(token string, s *api.Secret) *api.Secret {
	a := &api.SecretAuth{ClientToken: token}
	a.Accessor, _ = s.TokenAccessor()
	a.TokenPolicies, _ = s.TokenPolicies()
	a.Policies = a.TokenPolicies
	a.Metadata, _ = s.TokenMetadata()
	a.Renewable, _ = s.TokenIsRenewable()
	ttl, _ := s.TokenTTL()
	a.LeaseDuration = int(ttl.Seconds())
	return &api.Secret{Auth: a, Warnings: s.Warnings}
}
