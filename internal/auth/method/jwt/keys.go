package jwt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
)

// Bounds of key fetching.
const (
	fetchTimeout = 10 * time.Second
	maxKeySet    = 1 << 20
	freshFor     = 10 * time.Minute // after which keys are fetched again
	usableFor    = time.Hour        // keys stay in use if the source is unavailable
	pause        = 10 * time.Second // between two attempts
)

// fetcher fetches and caches the keys of one source.
type fetcher struct {
	source    string
	discovers bool   // the source is a discovery document
	issuer    string // that the document must name
	ca        string
	client    *http.Client

	busy chan struct{} // held while fetching

	mu      sync.Mutex // guards the fields below, and is not held while fetching
	keys    *jose.JSONWebKeySet
	found   provider // from the discovery document
	fetched time.Time
	tried   time.Time
}

func newFetcher(source string, c *settings) *fetcher {
	f := &fetcher{source: source, discovers: c.Discovery != "", issuer: c.Discovery, ca: c.JWKSCA + c.DiscoveryCA,
		busy: make(chan struct{}, 1)}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		t.RootCAs = x509.NewCertPool()
		t.RootCAs.AppendCertsFromPEM([]byte(f.ca)) // validated when it was written
	}
	f.client = &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			TLSClientConfig: t, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f
}

// test fetches once, to validate a configuration.
func (f *fetcher) test(ctx context.Context) error {
	return f.fetch(ctx, time.Time{})
}

// get returns the keys that may have signed a token; want is the token's key id, or "". A client
// whose token names an unknown key makes others wait for a fetch only where they need one, and
// cannot end it by closing its connection.
func (f *fetcher) get(ctx context.Context, want string, now time.Time) ([]jose.JSONWebKey, error) {
	if fits, fresh := f.known(want, now); fresh {
		return fits, nil
	}
	select {
	case f.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-f.busy }()
	fits, fresh := f.known(want, now)
	if fresh {
		return fits, nil
	}
	age, due := f.due(now)
	if due {
		err := f.fetch(context.WithoutCancel(ctx), now)
		if err == nil {
			fits, _ = f.known(want, now)
			return fits, nil
		}
		if age >= usableFor {
			return nil, fault.Wrap(err, fault.Unavailable, "cannot fetch the signing keys; check the source's availability "+
				"and try again")
		}
	}
	if age >= usableFor {
		return nil, fault.New(fault.Unavailable, "fetching the signing keys failed less than 10 s ago; try again later")
	}
	return fits, nil
}

// due returns the age of the keys, and whether they may be fetched now, which counts as an attempt.
func (f *fetcher) due(now time.Time) (age time.Duration, due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if age = usableFor; f.keys != nil {
		age = now.Sub(f.fetched)
	}
	if due = now.Sub(f.tried) >= pause || f.tried.IsZero(); due {
		f.tried = now
	}
	return age, due
}

// known returns the keys that fit, and whether they are fresh.
func (f *fetcher) known(want string, now time.Time) (fits []jose.JSONWebKey, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.keys == nil:
		return nil, false
	case want == "":
		fits = f.keys.Keys
	default:
		fits = f.keys.Key(want)
	}
	return fits, len(fits) > 0 && now.Sub(f.fetched) < freshFor
}

func (f *fetcher) fetch(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	at := f.source
	var found provider
	if f.discovers {
		if err := f.read(ctx, at, &found); err != nil {
			return err
		}
		if found.Issuer != f.issuer {
			return errors.New("the discovery document's issuer differs from oidc_discovery_url")
		}
		at = found.JWKS
	}
	keys := &jose.JSONWebKeySet{}
	if err := f.read(ctx, at, keys); err != nil {
		return err
	}
	if len(keys.Keys) == 0 {
		return errors.New("the key set is empty")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys, f.found, f.fetched = keys, found, now
	return nil
}

// provider is a provider's metadata (OpenID Connect Discovery 1.0, 3).
type provider struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Userinfo      string   `json:"userinfo_endpoint"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
}

// provider returns the provider's metadata, which is fetched with the keys.
func (f *fetcher) provider(ctx context.Context, now time.Time) (*provider, error) {
	if _, err := f.get(ctx, "", now); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.found
	if p.Authorization == "" || p.Token == "" {
		return nil, fault.New(fault.Unavailable, "the provider's discovery document lacks the authorization_endpoint or "+
			"token_endpoint")
	}
	return &p, nil
}

func (f *fetcher) read(ctx context.Context, at string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	return f.send(r, into)
}

// send reads a bounded JSON response.
func (f *fetcher) send(r *http.Request, into any) error {
	a, err := f.client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", a.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(a.Body, maxKeySet+1))
	if err != nil {
		return err
	}
	if len(body) > maxKeySet {
		return fmt.Errorf("the response has more than %d bytes", maxKeySet)
	}
	return json.Unmarshal(body, into)
}

// fetcher returns the fetcher of a configuration; a changed configuration starts without keys.
func (d *backend) fetcher(c *settings) *fetcher {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.fetched; f == nil || f.source != c.source() || f.ca != c.JWKSCA+c.DiscoveryCA || f.issuer != c.Discovery {
		d.fetched = newFetcher(c.source(), c)
	}
	return d.fetched
}

var errSignature = method.Invalid("error validating token: it is not signed by a known key with an accepted algorithm")

// verify checks a token's signature and returns its claims; numbers are json.Number.
func (d *backend) verify(ctx context.Context, c *settings, token string) (map[string]any, error) {
	signed, err := jose.ParseSignedCompact(token, c.algorithms())
	if err != nil || len(signed.Signatures) != 1 {
		return nil, method.Invalid("error validating token: it is not a signed JWT in compact form, or its algorithm is " +
			"not accepted")
	}
	var keys []any
	if source := c.source(); source != "" {
		fetched, err := d.fetcher(c).get(ctx, signed.Signatures[0].Header.KeyID, d.now())
		if err != nil {
			return nil, err
		}
		for _, k := range fetched {
			if k.IsPublic() && (k.Use == "" || k.Use == "sig") {
				keys = append(keys, k.Key)
			}
		}
	} else {
		own, err := c.publicKeys()
		if err != nil {
			return nil, err
		}
		for _, k := range own {
			keys = append(keys, k)
		}
	}
	for _, key := range keys {
		payload, err := signed.Verify(key)
		if err != nil {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(payload))
		dec.UseNumber()
		var claims map[string]any
		if err := dec.Decode(&claims); err != nil || claims == nil {
			return nil, method.Invalid("error validating token: its claims are not a JSON object")
		}
		return claims, nil
	}
	return nil, errSignature
}
