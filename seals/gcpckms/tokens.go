package gcpckms

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	grpcmeta "google.golang.org/grpc/metadata"

	"github.com/sealgate/sealgate/seals"
)

// scope is the scope of all tokens. Source:
// developers.google.com/identity/protocols/oauth2/scopes#cloudkms.
const scope = "https://www.googleapis.com/auth/cloudkms"

// credTypes are the known types of credentials files. Source: google.aip.dev/auth/4110.
var credTypes = map[string]bool{
	string(credentials.ServiceAccount): true, string(credentials.AuthorizedUser): true,
	string(credentials.ExternalAccount):               true,
	string(credentials.ExternalAccountAuthorizedUser): true, string(credentials.ImpersonatedServiceAccount): true,
	string(credentials.GDCHServiceAccount): true,
}

const (
	maxCredentials = 64 << 10
	early          = time.Minute // a token is replaced this long before it expires
)

// tokens gets access tokens, one at a time. A waiting caller keeps its own deadline, which the
// library's cache does not support.
//
// The credentials are, in this order: those of the stanza or its variables; the file that `gcloud
// auth application-default login` writes; the metadata server of the machine, which also serves
// workload identity. The library's own search is not used: it reads environment variables that
// disable_env_vars forbids, and waits without a context.
type tokens struct {
	s    *settings
	http *http.Client // its transport is t, which records the answers of the token service
	base atomic.Pointer[http.Transport]
	turn chan struct{} // semaphore of one

	// The holder of turn owns these.
	provider auth.TokenProvider // nil until the credentials are read
	token    *auth.Token

	refusal atomic.Pointer[refusal] // the last refusal of a token service, nil after another answer
	quota   atomic.Pointer[string]  // the quota project of the credentials, nil without one
}

func newTokens(s *settings) *tokens {
	t := &tokens{s: s, turn: make(chan struct{}, 1)}
	t.http = &http.Client{Transport: t}
	t.turn <- struct{}{}
	t.trust(nil)
	return t
}

// trust sets the CAs of token services.
func (t *tokens) trust(roots *x509.CertPool) {
	base := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		// A token is valid for an hour, so connections are not kept.
		TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true,
	}
	if !t.s.noEnv {
		base.Proxy = func(req *http.Request) (*url.URL, error) {
			if req.Header.Get(flavor) != "" {
				return nil, nil // the metadata server is local
			}
			return http.ProxyFromEnvironment(req)
		}
	}
	t.base.Store(base)
}

// inHand is the context key of the token of one attempt, which gRPC requests again.
type inHand struct{}

// Token returns the cached token, or gets a new one.
func (t *tokens) Token(ctx context.Context) (*auth.Token, error) {
	if token, ok := ctx.Value(inHand{}).(*auth.Token); ok {
		return token, nil
	}
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t.token != nil && (t.token.Expiry.IsZero() || time.Until(t.token.Expiry) > early) {
		return t.token, nil
	}
	if t.provider == nil {
		p, err := t.read()
		if err != nil {
			return nil, err
		}
		t.provider = p
	}
	t.refusal.Store(nil)
	token, err := t.provider.Token(ctx)
	if err != nil {
		t.provider = nil // the file may be corrected before the next call
		return nil, t.failure(ctx, err)
	}
	t.token = token
	return token, nil
}

// withToken adds a token and the quota project to the context of one attempt.
func (t *tokens) withToken(ctx context.Context, token *auth.Token) context.Context {
	if project := t.quota.Load(); project != nil {
		ctx = grpcmeta.AppendToOutgoingContext(ctx, "x-goog-user-project", *project)
	}
	return context.WithValue(ctx, inHand{}, token)
}

// forget drops a refused token, so that the credentials are read again. It keeps a token that
// replaced it in the meantime.
func (t *tokens) forget(ctx context.Context, refused *auth.Token) {
	select {
	case <-t.turn:
	case <-ctx.Done():
		return
	}
	if t.token == refused {
		t.token, t.provider = nil, nil
	}
	t.turn <- struct{}{}
}

// read makes a provider of tokens from the current credentials.
func (t *tokens) read() (auth.TokenProvider, error) {
	if t.s.inline != nil {
		return t.fromJSON(t.s.inline.Expose())
	}
	path, ambient := t.s.path, false
	if path == "" {
		path, ambient = wellKnown(t.s.getenv), true
	}
	if path == "" {
		return &metadata{client: t.http, host: t.s.getenv("GCE_METADATA_HOST")}, nil
	}
	b, err := readFile(path)
	switch {
	case ambient && errors.Is(err, fs.ErrNotExist):
		return &metadata{client: t.http, host: t.s.getenv("GCE_METADATA_HOST")}, nil
	case err != nil:
		return nil, seals.Fail(seals.Misconfigured, fmt.Errorf("credentials: %w", err),
			"store the credentials file there, or correct credentials; "+
				"it is read again at the next call")
	}
	defer clear(b)
	return t.fromJSON(b)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err == nil && len(b) > maxCredentials {
		clear(b)
		err = fmt.Errorf("%s is larger than %d bytes", path, maxCredentials)
	}
	return b, err
}

// wellKnown returns the path of gcloud's application default credentials. Source:
// google.aip.dev/auth/4110.
func wellKnown(getenv func(string) string) string {
	if dir := getenv("CLOUDSDK_CONFIG"); dir != "" {
		return filepath.Join(dir, "application_default_credentials.json")
	}
	if dir := getenv("APPDATA"); dir != "" && os.PathSeparator == '\\' {
		return filepath.Join(dir, "gcloud", "application_default_credentials.json")
	}
	if dir := getenv("HOME"); dir != "" {
		return filepath.Join(dir, ".config", "gcloud", "application_default_credentials.json")
	}
	return ""
}

func (t *tokens) fromJSON(b []byte) (auth.TokenProvider, error) {
	b = bytes.TrimPrefix(b, []byte(bom))
	kind, err := credType(b)
	t.quota.Store(quotaProject(b, t.s.getenv))
	if err != nil {
		return nil, seals.Fail(seals.Misconfigured, err,
			"set credentials to a key file of a service account, or another file that gcloud wrote")
	}
	c, err := credentials.NewCredentialsFromJSON(credentials.CredType(kind), b, &credentials.DetectOptions{
		Scopes: []string{scope}, Client: t.http, Logger: slog.New(slog.DiscardHandler),
		// A service account signs its own token: one service less to depend on
		// (google.aip.dev/auth/4111). Nothing runs behind a caller's back.
		UseSelfSignedJWT: kind == string(credentials.ServiceAccount), DisableAsyncRefresh: true,
		EarlyTokenRefresh: early,
	})
	if err != nil {
		// The library's text may quote what it could not read.
		return nil, seals.Fail(seals.Misconfigured, fmt.Errorf("the credentials of type %s cannot be used", kind),
			"check that the file is complete; otherwise create a new key")
	}
	return c, nil
}

// quotaProject is the project that pays for calls, where it is not the account's own: those of
// users have none. Source: google.aip.dev/auth/4110.
func quotaProject(b []byte, getenv func(string) string) *string {
	var f struct {
		Quota string `json:"quota_project_id"`
	}
	if json.Unmarshal(b, &f) != nil {
		return nil
	}
	if f.Quota = cmp.Or(getenv("GOOGLE_CLOUD_QUOTA_PROJECT"), f.Quota); f.Quota == "" {
		return nil
	}
	return &f.Quota
}

// flavor is the header of requests to a metadata server.
const flavor = "Metadata-Flavor"

// metadata gets tokens from the metadata server of a machine or pod in Google Cloud.
//
// Source: cloud.google.com/compute/docs/access/authenticate-workloads#applications.
type metadata struct {
	client *http.Client
	host   string
}

func (m *metadata) Token(ctx context.Context) (*auth.Token, error) {
	u := url.URL{Scheme: "http", Host: cmp.Or(m.host, "169.254.169.254"),
		Path: "/computeMetadata/v1/instance/service-accounts/default/token"}
	u.RawQuery = url.Values{"scopes": {scope}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(flavor, "Google")
	res, err := m.client.Do(req)
	if err != nil {
		return nil, seals.Fail(seals.Unreachable,
			fmt.Errorf("no credentials are configured, and the metadata server of Google Cloud does not answer: %w",
				err),
			"outside Google Cloud, set credentials or GOOGLE_APPLICATION_CREDENTIALS")
	}
	defer res.Body.Close()
	var out struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Type    string `json:"token_type"`
	}
	if res.StatusCode != http.StatusOK {
		return nil, seals.Fail(byStatus(res.StatusCode), fmt.Errorf("the metadata server answered %s", res.Status),
			"attach a service account to this machine or pod, with the scope %s", scope)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxCredentials)).Decode(&out); err != nil || out.Token == "" {
		return nil, seals.Fail(seals.Unreachable, errors.New("the metadata server's answer contains no token"),
			"check that no proxy answers in its place")
	}
	return &auth.Token{Value: out.Token, Type: cmp.Or(out.Type, "Bearer"),
		Expiry: time.Now().Add(time.Duration(out.Expires) * time.Second)}, nil
}

func byStatus(code int) seals.Class {
	switch {
	case code == http.StatusTooManyRequests:
		return seals.Throttled
	case code >= 500:
		return seals.Unreachable
	}
	return seals.Denied
}

// refusal is an answer of a token service without a token.
type refusal struct {
	code int
	text string
}

// RoundTrip records refusals of token services, because some of the library's errors have no status
// and quote whole answers.
func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.base.Load().RoundTrip(req)
	if err != nil || res.StatusCode < 400 {
		return res, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxCredentials))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	t.refusal.Store(&refusal{res.StatusCode, oauthText(body)})
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// failure classifies the failure to get a token. It includes the library's text only for network
// errors.
func (t *tokens) failure(ctx context.Context, err error) error {
	var f *seals.Failure
	if errors.As(err, &f) {
		return f
	}
	if r := t.refusal.Load(); r != nil {
		return seals.Fail(byStatus(r.code), fmt.Errorf("the token service answered %d: %.300s", r.code, r.text),
			"create a new key of the service account and replace the old one; check the machine's clock")
	}
	const remedy = "check that the token service of the credentials is reachable"
	if ctx.Err() != nil {
		return seals.Fail(seals.Unreachable, fmt.Errorf("no access token: %w", ctx.Err()), remedy)
	}
	var network *url.Error
	if errors.As(err, &network) {
		return seals.Fail(seals.Unreachable, fmt.Errorf("no access token: %w", network), remedy)
	}
	return seals.Fail(seals.Misconfigured, errors.New("the credentials yield no access token"),
		"check that their file is complete; otherwise create a new one")
}

// oauthText returns only the reason in an answer of an OAuth2 service. Source: RFC 6749, section
// 5.2.
func oauthText(body []byte) string {
	var e struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	if json.Unmarshal(body, &e) != nil || e.Code == "" {
		return "no readable reason"
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Text)
}
