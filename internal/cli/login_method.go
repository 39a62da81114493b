package cli

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// loginMethod is an auth method that `login` supports.
type loginMethod struct {
	login func(*loginRun, *api.Client) (*api.Secret, error)
	help  string // what `auth help` prints
}

// loginRun is one login: its mount and its parameters.
type loginRun struct {
	*base
	mount string
	data  map[string]any
}

// localError is an error that was found before a request was sent.
type localError struct{ text string }

func (e *localError) Error() string { return e.text }

var loginMethods = map[string]loginMethod{
	"token": {loginToken, `Usage: sealgate login [TOKEN | - | @file] [lookup=false]

  Checks an existing token and stores it for later commands. Without an argument the command prompts for it.

  lookup=false
      Store the token without checking it.`},
	"userpass": {loginUserpass, `Usage: sealgate login -method=userpass username=NAME [password=...]

  Logs in with a username and a password. Without password= the command prompts for it.

  username=<string>
      Name of the user.
  password=<string>
      Password of the user; password=- reads it from standard input, password=@file from a file.
  totp=<string>
      Code of the second factor, for users who have one.`},
	"approle": {loginAppRole, `Usage: sealgate login -method=approle role_id=ID [secret_id=...]

  Logs in with the ID of a role and, if the role requires one, a secret ID.

  role_id=<string>
      ID of the role.
  secret_id=<string>
      Secret ID; secret_id=- reads it from standard input, secret_id=@file from a file.`},
	"cert": {loginCert, `Usage: sealgate login -method=cert -client-cert=FILE -client-key=FILE [name=ROLE]

  Logs in with the TLS client certificate of the connection.

  name=<string>
      Role to log in with; without it, the server tries every role that trusts the certificate.`},
	"oidc": {loginOIDC, `Usage: sealgate login -method=oidc [role=ROLE] [port=8250] [listenaddress=localhost]
           [callbackhost=localhost] [callbackport=PORT] [callbackmethod=http] [skip_browser=false]

  Logs in with a browser: an OpenID Connect provider authenticates the user and redirects the browser to a
  listener of this command. The role's allowed_redirect_uris must contain http://localhost:8250/oidc/callback.

  role=<string>
      Role to log in with; by default the method's default role.
  port=<number>, listenaddress=<string>
      Address of the listener; port=0 uses any free port.
  callbackhost=<string>, callbackport=<number>, callbackmethod=<http or https>
      Address of the listener as the browser reaches it, if that differs.
  skip_browser=<bool>
      Only print the address, and open no browser.`},
	"jwt": {loginJWT, `Usage: sealgate login -method=jwt [role=ROLE] [jwt=...]

  Logs in with a signed JSON web token. Without jwt= the command prompts for it.

  role=<string>
      Role to log in with; by default the method's default role.
  jwt=<string>
      The token; jwt=- reads it from standard input, jwt=@file from a file.`},
}

// take removes a parameter from the data and returns it; "" if there is none.
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
	return "", &localError{fmt.Sprintf("%s must be given once, as text", name)}
}

// secret takes a parameter, or prompts for it.
func (l *loginRun) secret(name, question string) (string, error) {
	v, err := take(l.data, name)
	if err != nil || v != "" {
		return v, err
	}
	if v, err = l.prompt(question); err != nil {
		return "", &localError{fmt.Sprintf("%s is missing: %v. Pipe it in: %s=-", name, err, name)}
	}
	return v, nil
}

// post sends the login with all parameters: the server may know more of them than this client.
func (l *loginRun) post(client *api.Client, path string) (*api.Secret, error) {
	return send(client, put, "auth/"+l.mount+path, l.data)
}

func loginUserpass(l *loginRun, client *api.Client) (*api.Secret, error) {
	name, err := take(l.data, "username")
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, &localError{"username is missing: username=NAME"}
	}
	if l.data["password"], err = l.secret("password", "Password (will be hidden): "); err != nil {
		return nil, err
	}
	if name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, &localError{"a username must not contain a slash"}
	}
	return l.post(client, "/login/"+name)
}

func loginAppRole(l *loginRun, client *api.Client) (*api.Secret, error) {
	id, err := take(l.data, "role_id")
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, &localError{"role_id is missing: role_id=ID"}
	}
	l.data["role_id"] = id
	secret, err := take(l.data, "secret_id")
	if err != nil {
		return nil, err
	}
	if secret != "" { // a role may not require one
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

// authOf gives a looked-up token the form of a login's response.
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
