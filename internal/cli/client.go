package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
	"golang.org/x/time/rate"
)

var prefixes = []string{"SEALGATE_", "BAO_", "VAULT_"}

// getenv returns the first of SEALGATE_x, BAO_x and VAULT_x.
func (b *base) getenv(x string) string {
	if b.env.Getenv == nil {
		return ""
	}
	for _, prefix := range prefixes {
		if v := b.env.Getenv(prefix + x); v != "" {
			return v
		}
	}
	return ""
}

// envFlag is a boolean flag that the environment may switch on.
func (b *base) envFlag(set bool, x string) (bool, error) {
	v := b.getenv(x)
	if set || v == "" {
		return set, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%s must be true or false", x)
	}
	return on, nil
}

// client makes the API client of this command line. It reads the environment through Env only.
func (b *base) client() (*api.Client, error) {
	cfg := api.NewConfig()
	if cfg.Error != nil {
		return nil, cfg.Error
	}
	c := &b.conn
	cfg.Address = cmp.Or(c.address, b.getenv("ADDR"), "https://127.0.0.1:8200")
	cfg.AgentAddress = cmp.Or(c.agentAddress, b.getenv("AGENT_ADDR"))
	cfg.CheckRetry = retry
	if err := b.configure(cfg); err != nil {
		return nil, err
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, errors.New("the server's address is not a URL: the form is https://127.0.0.1:8200")
	}
	token, err := b.token()
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	if ns := cmp.Or(c.namespace, c.ns, b.getenv("NAMESPACE")); ns != "" {
		client.SetNamespace(ns)
	}
	mfa := []string(c.mfa)
	if v := b.getenv("MFA"); len(mfa) == 0 && v != "" {
		mfa = []string{v}
	}
	if len(mfa) > 0 {
		client.SetMFACreds(mfa)
	}
	client.SetPolicyOverride(c.policyOverride)
	client.SetOutputCurlString(c.outputCurl)
	client.SetOutputPolicy(c.outputPolicy)
	if ttl := b.wrapTTL(); ttl != "" {
		client.SetWrappingLookupFunc(func(string, string) string { return ttl })
	}
	return client, b.addHeaders(client)
}

func (b *base) wrapTTL() string {
	if b.conn.wrapTTL > 0 {
		return b.conn.wrapTTL.String()
	}
	return b.getenv("WRAP_TTL")
}

func (b *base) addHeaders(client *api.Client) error {
	for _, h := range b.conn.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return errors.New("-header: the form is name=value")
		}
		if strings.HasPrefix(strings.ToLower(name), "x-vault-") {
			return errors.New("-header cannot set X-Vault- headers: use the flag for it, such as -namespace")
		}
		client.AddHeader(name, value)
	}
	return nil
}

// configure sets TLS, redirects, retries, timeout, rate limit and proxy.
func (b *base) configure(cfg *api.Config) error {
	c := &b.conn
	var err error
	if c.skipVerify, err = b.envFlag(c.skipVerify, "SKIP_VERIFY"); err != nil {
		return err
	}
	if cfg.DisableRedirects, err = b.envFlag(c.disableRedirects, "DISABLE_REDIRECTS"); err != nil {
		return err
	}
	if cfg.SRVLookup, err = b.envFlag(false, "SRV_LOOKUP"); err != nil {
		return err
	}
	err = cfg.ConfigureTLS(&api.TLSConfig{
		CACert: cmp.Or(c.caCert, b.getenv("CACERT")), CAPath: cmp.Or(c.caPath, b.getenv("CAPATH")),
		CACertBytes: []byte(b.getenv("CACERT_BYTES")),
		ClientCert:  cmp.Or(c.clientCert, b.getenv("CLIENT_CERT")), ClientKey: cmp.Or(c.clientKey, b.getenv("CLIENT_KEY")),
		ClientCertBytes: []byte(b.getenv("CLIENT_CERT_BYTES")), ClientKeyBytes: []byte(b.getenv("CLIENT_KEY_BYTES")),
		TLSServerName: cmp.Or(c.serverName, b.getenv("TLS_SERVER_NAME")), Insecure: c.skipVerify,
	})
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	return b.limits(cfg)
}

func (b *base) limits(cfg *api.Config) error {
	if v := b.getenv("MAX_RETRIES"); v != "" {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return errors.New("MAX_RETRIES must be a whole number")
		}
		cfg.MaxRetries = int(n)
	}
	if v := b.getenv("CLIENT_TIMEOUT"); v != "" {
		var d seconds
		if err := d.Set(v); err != nil {
			return fmt.Errorf("CLIENT_TIMEOUT: %w", err)
		}
		cfg.Timeout = api.NewConfig().Timeout
		if d > 0 {
			cfg.Timeout = time.Duration(d)
		}
	}
	if v := b.getenv("RATE_LIMIT"); v != "" {
		each, burst, _ := strings.Cut(v, ":")
		perSecond, err := strconv.ParseFloat(each, 64)
		size, err2 := strconv.Atoi(cmp.Or(burst, strconv.Itoa(int(perSecond))))
		if err != nil || err2 != nil || perSecond <= 0 {
			return errors.New("RATE_LIMIT: the form is requests per second, or rate:burst")
		}
		cfg.Limiter = rate.NewLimiter(rate.Limit(perSecond), max(1, size))
	}
	if v := cmp.Or(b.getenv("PROXY_ADDR"), b.getenv("HTTP_PROXY")); v != "" {
		u, err := url.Parse(v)
		if err != nil {
			return errors.New("PROXY_ADDR is not a URL")
		}
		if t, ok := cfg.HttpClient.Transport.(*http.Transport); ok {
			t.Proxy = http.ProxyURL(u)
		}
	}
	return nil
}

// retry is the SDK's policy, except that a sealed server is not retried, because it stays sealed
// until custodians or its seal unseal it. [base.sendShare] handles retries of requests that carry a
// share.
func retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if sent, ok := ctx.Value(sendingKey{}).(*sending); ok {
		return sent.retry(ctx, resp, err)
	}
	return retryOthers(ctx, resp, err)
}

func retryOthers(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if err == nil && resp != nil && resp.StatusCode == http.StatusServiceUnavailable {
		const most = 4096
		head, readErr := io.ReadAll(io.LimitReader(resp.Body, most))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
		if readErr == nil && bytes.Contains(head, []byte("Vault is sealed")) {
			return false, nil
		}
	}
	return api.DefaultRetryPolicy(ctx, resp, err)
}

// tokenFile is the file that login writes; Vault's and OpenBao's clients use the same one.
func (b *base) tokenFile() string {
	if p := b.getenv("TOKEN_PATH"); p != "" {
		return p
	}
	if b.env.Home == "" {
		return ""
	}
	return filepath.Join(b.env.Home, ".vault-token")
}

// envToken is the name of the environment variable that holds a token; "" for none.
func (b *base) envToken() string {
	for _, prefix := range prefixes {
		if b.env.Getenv != nil && b.env.Getenv(prefix+"TOKEN") != "" {
			return prefix + "TOKEN"
		}
	}
	return ""
}

// token returns the token to use, "" for none.
func (b *base) token() (string, error) {
	if t := b.getenv("TOKEN"); t != "" {
		return strings.TrimSpace(t), nil
	}
	file := b.tokenFile()
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// call sends one request and decodes its JSON response; out may be nil.
func call(client *api.Client, method, path string, in, out any) error {
	return callWith(context.Background(), client, method, path, in, out)
}

func callWith(ctx context.Context, client *api.Client, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, client.ClientTimeout())
	defer cancel()
	req := client.NewRequest(method, "/v1/"+path)
	if in != nil {
		if err := req.SetJSONBody(in); err != nil {
			return err
		}
	}
	resp, err := client.RawRequestWithContext(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := resp.DecodeJSON(out); err != nil {
		return fmt.Errorf("unexpected response: %w", err)
	}
	return nil
}

// callData is callWith for a response whose content is in "data".
func callData(ctx context.Context, client *api.Client, method, path string, in, out any) error {
	if out == nil {
		return callWith(ctx, client, method, path, in, nil)
	}
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	if err := callWith(ctx, client, method, path, in, &envelope); err != nil {
		return err
	}
	if len(envelope.Data) == 0 {
		return errors.New("unexpected response: it has no data")
	}
	if err := json.Unmarshal(envelope.Data, out); err != nil {
		return fmt.Errorf("unexpected response: %w", err)
	}
	return nil
}

// unserved reports whether the server lacks the endpoint or has it disabled.
func unserved(err error) bool {
	var re *api.ResponseError
	return errors.As(err, &re) && (re.StatusCode == http.StatusNotFound || re.StatusCode == http.StatusMethodNotAllowed)
}
