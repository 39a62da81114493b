package kubernetes

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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// Bounds of a request to the API server.
const (
	requestTime = 10 * time.Second
	maxAnswer   = 1 << 20
	maxPodFile  = 1 << 20
)

// server is the API server, for one login.
type server struct {
	url      string
	client   *http.Client
	reviewer string // "": the client's own token
}

// server reads the CA and the reviewer's token: those of the configuration, else those of the pod.
func (d *backend) server(c *settings) (*server, error) {
	roots, reviewer := x509.NewCertPool(), c.Reviewer
	ca := c.CA
	if ca == "" {
		text, err := d.podCA()
		if err != nil {
			return nil, unavailable(err)
		}
		ca = text
	}
	roots.AppendCertsFromPEM([]byte(ca)) // validated when it was written or read
	if reviewer == "" && !c.DisableLocal {
		text, err := d.podFile("token")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, unavailable(err)
		}
		reviewer = strings.TrimSpace(text)
	}
	return &server{url: c.Host, reviewer: reviewer, client: &http.Client{
		Timeout: requestTime,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment,
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (d *backend) podFile(name string) (string, error) {
	f, err := os.Open(filepath.Join(d.folder, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPodFile))
	return string(text), err
}

func (d *backend) podCA() (string, error) {
	text, err := d.podFile("ca.crt")
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		err = errors.New("the CA file of the pod has no certificate")
	}
	return text, err
}

// unavailable is the error for a login that could not be judged.
func unavailable(cause error) error {
	return fault.Wrap(cause, fault.Unavailable, "the Kubernetes API server could not be asked about the token; the "+
		"server's log has the cause")
}

// tokenReview is authentication.k8s.io/v1.TokenReview.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status,omitzero"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences,omitempty"`
}

type reviewStatus struct {
	Authenticated bool       `json:"authenticated"`
	Error         string     `json:"error"` // of the API server; it may quote the token's claims and is not shown
	Audiences     []string   `json:"audiences"`
	User          reviewUser `json:"user"`
}

type reviewUser struct {
	Username string `json:"username"`
	UID      string `json:"uid"`
}

const reviewVersion, reviewKind = "authentication.k8s.io/v1", "TokenReview"

// review asks the API server about a token.
func (s *server) review(ctx context.Context, token string, audiences []string) (reviewStatus, error) {
	body, err := json.Marshal(tokenReview{APIVersion: reviewVersion, Kind: reviewKind,
		Spec: reviewSpec{Token: token, Audiences: audiences}})
	if err != nil {
		return reviewStatus{}, err
	}
	defer clear(body)
	bearer := s.reviewer
	if bearer == "" {
		bearer = token
	}
	var out tokenReview
	code, err := s.call(ctx, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", bearer, body, &out)
	switch {
	case err != nil:
		return reviewStatus{}, unavailable(err)
	case code == http.StatusCreated || code == http.StatusOK:
		if out.Kind != reviewKind || out.APIVersion != reviewVersion {
			return reviewStatus{}, unavailable(errors.New("the answer is not a TokenReview: correct kubernetes_host"))
		}
		return out.Status, nil
	case s.reviewer == "" && (code == http.StatusUnauthorized || code == http.StatusForbidden):
		return reviewStatus{}, denied(fmt.Errorf("the API server refuses the client's token as that of the reviewer (status "+
			"%d): set token_reviewer_jwt, or bind the service account to system:auth-delegator", code))
	case code == http.StatusUnauthorized:
		return reviewStatus{}, unavailable(errors.New("the API server does not know the reviewer's token (status 401): it " +
			"is expired or deleted; write a new token_reviewer_jwt"))
	case code == http.StatusForbidden:
		return reviewStatus{}, unavailable(errors.New("the reviewer may not review tokens (status 403): bind its service " +
			"account to system:auth-delegator"))
	}
	return reviewStatus{}, unavailable(fmt.Errorf("the API server answers a TokenReview with status %d", code))
}

// selects returns nil if a selector matches the labels of a namespace.
func (s *server) selects(ctx context.Context, selector, namespace string) error {
	const refused = "namespace not authorized"
	if selector == "" {
		return forbidden(refused)
	}
	if s.reviewer == "" {
		return forbidden(refused + " err=namespace lookup failed: TokenReviewer JWT needs to be configured to use " +
			"namespace selectors")
	}
	want, err := parseSelector(selector)
	if err != nil {
		return err
	}
	var out struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if namespace == "" || namespace == "." || namespace == ".." {
		return forbidden(refused)
	}
	code, err := s.call(ctx, http.MethodGet, "/api/v1/namespaces/"+url.PathEscape(namespace), s.reviewer, nil, &out)
	switch {
	case err != nil:
		return unavailable(err)
	case code == http.StatusNotFound:
		return forbidden(refused)
	case code != http.StatusOK:
		return unavailable(fmt.Errorf("the API server answers with status %d when the namespace's labels are read: the "+
			"reviewer needs \"get\" on namespaces", code))
	case out.Kind != "Namespace" || out.Metadata.Name != namespace || !want.matches(out.Metadata.Labels):
		return forbidden(refused)
	}
	return nil
}

// call sends a request, and decodes the answer of a request that worked.
func (s *server) call(ctx context.Context, verb, path, bearer string, body []byte, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, verb, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, err
	case len(raw) > maxAnswer:
		return 0, fmt.Errorf("the response has more than %d bytes", maxAnswer)
	case a.StatusCode < 200 || a.StatusCode > 299:
		return a.StatusCode, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return 0, errors.New("the answer is not JSON of the API: correct kubernetes_host")
	}
	return a.StatusCode, nil
}
