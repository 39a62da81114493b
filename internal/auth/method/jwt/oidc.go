package jwt

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// The login by browser: OpenID Connect's authorization code flow with PKCE (OpenID Connect Core
// 1.0, 3.1; RFC 7636).
//
//	oidc/auth_url   the client asks for the provider's URL, and names the redirect URI
//	oidc/callback   the client sends the code that the browser got; it is redeemed for an ID token
//
// The state parameter itself carries the encrypted state of the login: see state.go.

// stateFor is how long a login may take.
const stateFor = 5 * time.Minute

// authURL returns the provider's URL. As in Vault the URL is empty if the role does not allow the
// redirect URI, so that clients cannot probe for roles.
func (d *backend) authURL(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	if !method.IsWrite(r.Operation) {
		return nil, method.ErrUnsupported
	}
	var name, redirect, nonce string
	f := field.Map(r.Data)
	if err := field.First(f.Text("role", &name), f.Text("redirect_uri", &redirect),
		f.Text("client_nonce", &nonce)); err != nil {
		return nil, err
	}
	c, x, name, err := d.browserRole(ctx, name)
	if err != nil {
		return nil, err
	}
	switch {
	case redirect == "":
		return nil, method.Invalid("missing redirect_uri")
	case len(nonce) > maxClientNonce || len(redirect) > maxRedirect:
		return nil, method.Invalid("client_nonce or redirect_uri is too long")
	case x == nil || !x.redirects(redirect):
		return &mount.Response{Data: map[string]any{"auth_url": ""}}, nil
	}
	provider, err := d.fetcher(c).provider(ctx, d.now())
	if err != nil {
		return nil, err
	}
	s := &state{Role: name, Redirect: redirect, ClientNonce: nonce, Expires: d.now().Add(stateFor).Unix()}
	for _, v := range []*string{&s.Nonce, &s.Verifier} {
		if *v, err = d.random(); err != nil {
			return nil, err
		}
	}
	sealed, err := d.seal(ctx, s)
	if err != nil {
		return nil, err
	}
	at, err := c.authorization(provider.Authorization, x, s, sealed)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: map[string]any{"auth_url": at}}, nil
}

const (
	maxClientNonce = 256
	maxRedirect    = 2048
)

func (d *backend) random() (string, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// authorization returns the provider's authorization URL with all parameters.
func (c *settings) authorization(endpoint string, x *role, s *state, sealed string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return "", fault.New(fault.Unavailable, "the provider's authorization_endpoint is not a URL")
	}
	challenge := sha256.Sum256([]byte(s.Verifier))
	q := u.Query()
	for name, v := range map[string]string{
		"response_type": "code", "client_id": c.ClientID, "redirect_uri": s.Redirect, "state": sealed, "nonce": s.Nonce,
		"scope": strings.Join(append([]string{"openid"}, x.Scopes...), " "), "code_challenge_method": "S256",
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "response_mode": c.ResponseMode,
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if x.MaxAge > 0 {
		q.Set("max_age", fmt.Sprint(x.MaxAge))
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// browserRole returns the configuration and a role for login by browser; a nil role if there is
// none of that name.
func (d *backend) browserRole(ctx context.Context, name string) (*settings, *role, string, error) {
	c, err := method.Load[settings](ctx, d.store, configKey)
	if err != nil {
		return nil, nil, "", err
	}
	if c == nil || c.ClientID == "" {
		return nil, nil, "", method.Invalid("login by browser is not configured: write config with oidc_discovery_url and " +
			"oidc_client_id")
	}
	if name == "" {
		name = c.DefaultRole
	}
	if name == "" {
		return nil, nil, "", method.Invalid("missing role")
	}
	name = strings.ToLower(name)
	x, err := method.Load[role](ctx, d.store, rolePrefix+name)
	if err != nil || x != nil && !x.Browser {
		return c, nil, name, err
	}
	return c, x, name, nil
}

// redirects reports whether a redirect URI is allowed. On a loopback address any port is allowed
// (RFC 8252, 7.3).
func (x *role) redirects(uri string) bool {
	if slices.Contains(x.Redirects, uri) {
		return true
	}
	want, err := url.Parse(uri)
	if err != nil || !loopback(want) {
		return false
	}
	return slices.ContainsFunc(x.Redirects, func(allowed string) bool {
		u, err := url.Parse(allowed)
		return err == nil && loopback(u) && u.Scheme == want.Scheme && u.Hostname() == want.Hostname() &&
			u.Path == want.Path &&
			u.RawQuery == want.RawQuery && u.Fragment == want.Fragment && want.User == nil
	})
}

func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return (u.Scheme == "http" || u.Scheme == "https") && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

var errState = method.Invalid("expired or missing OAuth state: start the login again")

// callback redeems the code that the browser got.
func (d *backend) callback(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	given := func(name string) string {
		if v := r.Query.Get(name); v != "" {
			return v
		}
		text, _ := r.Data[name].(string)
		return text
	}
	s, err := d.unseal(ctx, given("state"))
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(s.ClientNonce), []byte(given("client_nonce"))) != 1 {
		return nil, method.Invalid("invalid client_nonce: the client that started the login must finish it")
	}
	if refused := given("error"); refused != "" {
		return nil, method.Invalid("the provider has refused the login (%q)", clip(refused))
	}
	code := given("code")
	if code == "" || len(code) > maxToken {
		return nil, method.Invalid("the code is missing: the provider refused the login, or was not asked")
	}
	c, x, name, err := d.browserRole(ctx, s.Role)
	if err != nil {
		return nil, err
	}
	if x == nil || !x.redirects(s.Redirect) {
		return nil, method.Invalid("role %q could not be found", name)
	}
	if !method.Within(x.BoundCIDRs, r.Remote) {
		return nil, method.ErrOutside
	}
	claims, err := d.redeem(ctx, c, x, s, code)
	if err != nil {
		return nil, err
	}
	if err := x.admit(c, claims, d.now()); err != nil {
		return nil, err
	}
	user, meta, err := x.describe(name, claims)
	if err != nil {
		return nil, err
	}
	return x.Login(user, meta), nil
}

// clip bounds a foreign text for an error.
func clip(text string) string { return text[:min(len(text), 64)] }

// redeem exchanges the code for an ID token, and returns its claims with those of the provider's
// userinfo.
func (d *backend) redeem(ctx context.Context, c *settings, x *role, s *state, code string) (map[string]any, error) {
	f := d.fetcher(c)
	provider, err := f.provider(ctx, d.now())
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.Redirect},
		"code_verifier": {s.Verifier}}
	var got struct {
		IDToken     string `json:"id_token"`
		AccessToken string `json:"access_token"`
	}
	if err := f.exchange(ctx, provider, c, form, &got); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "error exchanging oidc code: the provider refused it; start the login "+
			"again")
	}
	if got.IDToken == "" || len(got.IDToken) > maxToken {
		return nil, method.Invalid("no id_token found in the provider's response: it must support the scope openid")
	}
	claims, err := d.verify(ctx, c, got.IDToken)
	if err != nil {
		return nil, err
	}
	if err := c.checkIDToken(claims, x, s.Nonce, d.now()); err != nil {
		return nil, err
	}
	if provider.Userinfo == "" || got.AccessToken == "" {
		return claims, nil
	}
	var more map[string]any
	if err := f.userinfo(ctx, provider.Userinfo, got.AccessToken, &more); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot read the provider's userinfo; try again")
	}
	if more["sub"] != claims["sub"] {
		return nil, method.Invalid("sub in the ID token and the provider's userinfo differ")
	}
	for name, v := range more {
		if _, there := claims[name]; !there { // signed claims take precedence
			claims[name] = v
		}
	}
	return claims, nil
}

// checkIDToken checks that a signed token belongs to this login (OpenID Connect Core, 3.1.3.7).
func (c *settings) checkIDToken(claims map[string]any, x *role, nonce string, now time.Time) error {
	audience, _ := texts(claims["aud"])
	party, named := claims["azp"]
	authenticated, isTime := moment(claims["auth_time"])
	issued, _ := claims["iss"].(string)
	given, _ := claims["nonce"].(string)
	switch {
	case issued != c.Discovery:
		return method.Invalid("error validating token: invalid issuer (iss) claim")
	case !slices.Contains(audience, c.ClientID):
		return method.Invalid("error validating token: it is not for this client (aud)")
	case named && party != c.ClientID, !named && len(audience) > 1:
		return method.Invalid("error validating token: it was issued to another client (azp)")
	case subtle.ConstantTimeCompare([]byte(given), []byte(nonce)) != 1:
		return method.Invalid("invalid ID token nonce")
	case claims["exp"] == nil || claims["iat"] == nil:
		return method.Invalid("error validating token: it lacks a time (exp, iat)")
	case x.MaxAge > 0 && (!isTime || authenticated.IsZero() ||
		now.After(authenticated.Add(time.Duration(x.MaxAge)*time.Second+leeway(x.ClockSkew, defaultSkew)))):
		return method.Invalid("error validating token: the provider authenticated the user too long ago (auth_time)")
	}
	return nil
}

// exchange posts to the provider's token endpoint.
func (f *fetcher) exchange(ctx context.Context, p *provider, c *settings, form url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	basic := c.ClientSecret != "" && (len(p.TokenAuth) == 0 || slices.Contains(p.TokenAuth, "client_secret_basic"))
	if !basic {
		form.Set("client_id", c.ClientID)
		if c.ClientSecret != "" {
			form.Set("client_secret", c.ClientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if basic {
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	}
	return f.send(r, into)
}

func (f *fetcher) userinfo(ctx context.Context, at, token string, into *map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	var raw json.RawMessage
	if err := f.send(r, &raw); err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return d.Decode(into)
}
