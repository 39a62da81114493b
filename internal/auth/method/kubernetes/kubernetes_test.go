package kubernetes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/testkit/kubeapi"
)

// bench is a mount of the method and an API server with two accounts.
type bench struct {
	*testing.T
	backend mount.Backend
	api     *kubeapi.Server
	folder  string // of the pod's credentials

	patience time.Duration // the deadline of logins
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t, api: kubeapi.Start(t), folder: t.TempDir(), patience: time.Minute}
	backend, err := Factory(Options{Folder: b.folder})(store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	b.backend = backend
	b.api.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u1"})
	b.api.Put(kubeapi.Account{Namespace: "vault", Name: "reviewer", UID: "u2", Reviews: true, Namespaces: true})
	b.must("role/app", map[string]any{"bound_service_account_names": "app", "bound_service_account_namespaces": "prod"})
	return b
}

func (b *bench) do(ctx context.Context, path string, data map[string]any) (*mount.Response, error) {
	return b.backend.Handle(ctx, &mount.Request{Operation: mount.Update, Path: path, Data: data, Remote: "192.0.2.1:1"})
}

func (b *bench) must(path string, data map[string]any) *mount.Response {
	b.Helper()
	a, err := b.do(b.Context(), path, data)
	if err != nil {
		b.Fatalf("%s: %v", path, err)
	}
	return a
}

func (b *bench) configure(more ...any) {
	b.Helper()
	data := map[string]any{"kubernetes_host": b.api.URL, "kubernetes_ca_cert": b.api.CA,
		"token_reviewer_jwt": b.api.Token("vault", "reviewer", nil)}
	for i := 0; i < len(more); i += 2 {
		data[more[i].(string)] = more[i+1]
	}
	b.must("config", data)
}

// login returns the login's error, and checks that it shows no token.
func (b *bench) login(role, jwt string) error {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), b.patience)
	defer cancel()
	a, err := b.do(ctx, "login", map[string]any{"role": role, "jwt": jwt})
	if (err == nil) != (a != nil && a.Login != nil) {
		b.Errorf("%+v, %v", a, err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if parts := strings.Split(jwt, "."); len(parts) == 3 && parts[2] != "" && strings.Contains(e.Error(), parts[2]) {
			b.Errorf("the error shows the token: %v", e)
		}
	}
	return err
}

func (b *bench) refused(err error, kind fault.Kind, cause string) {
	b.Helper()
	text := ""
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += e.Error() + "; "
	}
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(text, cause) {
		b.Errorf("%v %q; want %v with %q", fault.KindOf(err), text, kind, cause)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure()
	a := b.must("login", map[string]any{"role": "APP", "jwt": b.api.Token("prod", "app", nil)})
	want := map[string]string{"role": "APP", "service_account_name": "app", "service_account_namespace": "prod",
		"service_account_uid": "u1", "service_account_secret_name": ""}
	for name, v := range want {
		if a.Login.Meta[name] != v {
			t.Errorf("%s: %q, want %q", name, a.Login.Meta[name], v)
		}
	}
	if a.Login.DisplayName != "prod-app" {
		t.Errorf("display name %q", a.Login.DisplayName)
	}
	b.must("role/net", map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*",
		"token_bound_cidrs": "10.0.0.0/8"})
	before := b.api.Reviews()
	b.refused(b.login("net", b.api.Token("prod", "app", nil)), fault.Denied, "permission denied")
	if b.api.Reviews() != before {
		t.Error("a client outside the role's networks causes a review")
	}
}

// TestReviewDecides: a token whose claims suit the role is refused unless the API server confirms
// it.
func TestReviewDecides(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure()
	other := kubeapi.Start(t)
	other.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u1"})
	set := func(name string, v any) func(kubeapi.Claims) { return func(c kubeapi.Claims) { c[name] = v } }
	claim := func(namespace, name, uid string) func(kubeapi.Claims) {
		return set("kubernetes.io", map[string]any{"namespace": namespace,
			"serviceaccount": map[string]any{"name": name, "uid": uid}})
	}
	good := b.api.Token("prod", "app", nil)
	head, rest, _ := strings.Cut(good, ".")
	body, _, _ := strings.Cut(rest, ".")
	for what, tc := range map[string]struct{ token, cause string }{
		"another cluster":   {other.Token("prod", "app", nil), "does not accept"},
		"another UID":       {b.api.Token("prod", "app", nil, claim("prod", "app", "u9")), "does not accept"},
		"no signature":      {head + "." + body + ".", ""},
		"alg none":          {"eyJhbGciOiJub25lIn0." + body + ".", "not a signed JWT"},
		"alg HS256":         {"eyJhbGciOiJIUzI1NiJ9." + body + ".AAAA", "not a signed JWT"},
		"a JSON signature":  {`{"payload":"` + body + `"}`, "not a signed JWT"},
		"expired":           {b.api.Token("prod", "app", nil, set("exp", 1000)), "token is expired"},
		"exp is a string":   {b.api.Token("prod", "app", nil, set("exp", "9999999999")), "wrong form"},
		"aud is an object":  {b.api.Token("prod", "app", nil, set("aud", map[string]string{})), "wrong form"},
		"name is a number":  {b.api.Token("prod", "app", nil, set("kubernetes.io", 7)), "wrong form"},
		"claims are a list": {head + ".W10." + strings.Repeat("A", 342), "wrong form"},
		"of another":        {b.api.Token("vault", "reviewer", nil), "service account name not authorized"},
	} {
		err := b.login("app", tc.token)
		if what == "no signature" {
			b.refused(err, fault.Denied, "permission denied")
			continue
		}
		b.refused(err, fault.Denied, tc.cause)
	}
	if err := b.login("app", good); err != nil {
		t.Error(err)
	}
	b.api.Delete("prod", "app")
	b.refused(b.login("app", good), fault.Denied, "does not accept")
}

// TestReviewIsCompared: an API server that names another account than the token is not followed.
func TestReviewIsCompared(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure()
	token := b.api.Token("prod", "app", []string{"vault"})
	answer := func(user, uid, audiences string) string {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"authenticated":true,` +
			`"audiences":[` + audiences + `],"user":{"username":"` + user + `","uid":"` + uid + `"}}}`
	}
	b.must("role/aud", map[string]any{"bound_service_account_names": "app", "bound_service_account_namespaces": "prod",
		"audience": "vault"})
	for what, tc := range map[string]struct {
		body, cause string
		kind        fault.Kind
	}{
		"another name":      {answer("system:serviceaccount:prod:root", "u1", `"vault"`), "another account", fault.Denied},
		"another namespace": {answer("system:serviceaccount:test:app", "u1", `"vault"`), "another account", fault.Denied},
		"another UID":       {answer("system:serviceaccount:prod:app", "u2", `"vault"`), "another account", fault.Denied},
		"a user":            {answer("app", "u1", `"vault"`), "another account", fault.Denied},
		"no audience":       {answer("system:serviceaccount:prod:app", "u1", ``), "confirm the audience", fault.Denied},
		"another audience":  {answer("system:serviceaccount:prod:app", "u1", `"x"`), "confirm the audience", fault.Denied},
		"not a review":      {`{"kind":"Status","apiVersion":"v1"}`, "not a TokenReview", fault.Unavailable},
		"not JSON":          {`<html>`, "correct kubernetes_host", fault.Unavailable},
		"too long":          {`"` + strings.Repeat("x", maxAnswer) + `"`, "more than", fault.Unavailable},
		"an empty object":   {`{}`, "not a TokenReview", fault.Unavailable},
	} {
		b.api.Answer(tc.body)
		if err := b.login("aud", token); err == nil {
			t.Errorf("%s: logged in", what)
		} else {
			b.refused(err, tc.kind, tc.cause)
		}
	}
	b.api.Answer(answer("system:serviceaccount:prod:app", "u1", `"vault"`))
	if err := b.login("aud", token); err != nil {
		t.Error(err)
	}
}

// TestAPIServerFails: outages are told apart from refusals, have a deadline, and tell the client
// nothing about the cluster.
func TestAPIServerFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	token := b.api.Token("prod", "app", nil)
	b.refused(b.login("app", token), fault.Internal, "could not load backend configuration")
	b.configure("token_reviewer_jwt", b.api.Token("prod", "app", nil))
	b.refused(b.login("app", token), fault.Unavailable, "system:auth-delegator")
	b.configure("token_reviewer_jwt", b.api.Token("vault", "reviewer", []string{"elsewhere"}))
	b.refused(b.login("app", token), fault.Unavailable, "write a new token_reviewer_jwt")
	b.configure("token_reviewer_jwt", "", "disable_local_ca_jwt", true)
	b.refused(b.login("app", token), fault.Denied, "refuses the client's token as that of the reviewer")
	b.configure("kubernetes_ca_cert", otherCA(t))
	b.refused(b.login("app", token), fault.Unavailable, "certificate")
	b.configure()
	b.api.Unresponsive()
	b.patience = 100 * time.Millisecond
	b.refused(b.login("app", token), fault.Unavailable, "deadline")
	b.patience = time.Minute
	b.api.Restore()
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed, with a token")
	}))
	defer elsewhere.Close()
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	b.configure("kubernetes_host", redirect.URL)
	b.refused(b.login("app", token), fault.Unavailable, "status 307")
	b.configure()
	b.api.Stop()
	err := b.login("app", token)
	b.refused(err, fault.Unavailable, "refused")
	if strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the client gets %v", err)
	}
}

// otherCA is a CA that did not sign the API server's certificate.
func otherCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestPod: in a pod the CA and the reviewer's token are the pod's own, as the files are now.
func TestPod(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(b.folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := map[string]any{"kubernetes_host": strings.TrimPrefix(b.api.URL, "https://")}
	if _, err := b.do(t.Context(), "config", config); err == nil || !strings.Contains(err.Error(), "kubernetes_ca_cert") {
		t.Errorf("outside a pod: %v", err)
	}
	write("ca.crt", b.api.CA)
	b.must("config", config)
	token := b.api.Token("prod", "app", nil)
	b.refused(b.login("app", token), fault.Denied, "refuses the client's token") // no token file: its own
	write("token", b.api.Token("vault", "reviewer", nil)+"\n")
	if err := b.login("app", token); err != nil {
		t.Error(err)
	}
	write("token", b.api.Token("vault", "reviewer", []string{"old"}))
	b.refused(b.login("app", token), fault.Unavailable, "write a new token_reviewer_jwt")
	write("ca.crt", "none")
	b.refused(b.login("app", token), fault.Unavailable, "no certificate")
}

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	secret := "marked-secret"
	for what, data := range map[string]map[string]any{
		"must begin with https://": {"kubernetes_host": "http://10.0.0.1:6443"},
		"must be a host":           {"kubernetes_host": "https://user:" + secret + "@10.0.0.1"},
		"must be a host, a host":   {"kubernetes_host": "https://10.0.0.1/?x=" + secret},
		"is not a PEM certificate": {"kubernetes_host": "h", "kubernetes_ca_cert": secret},
		"token_reviewer_jwt is not": {"kubernetes_host": "h", "kubernetes_ca_cert": b.api.CA,
			"token_reviewer_jwt": secret},
		"any valid public keys":        {"kubernetes_host": "h", "kubernetes_ca_cert": b.api.CA, "pem_keys": secret},
		"it must be true or false":     {"kubernetes_host": "h", "disable_local_ca_jwt": secret},
		"when disable_local_ca_jwt is": {"kubernetes_host": "h", "disable_local_ca_jwt": true},
	} {
		_, err := b.do(t.Context(), "config", data)
		if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", what, err)
		}
	}
	b.configure("token_reviewer_jwt", b.api.Token("vault", "reviewer", nil))
	a, err := b.backend.Handle(t.Context(), &mount.Request{Operation: mount.Read, Path: "config"})
	if err != nil {
		t.Fatal(err)
	}
	data := a.Data.(map[string]any)
	if _, shown := data["token_reviewer_jwt"]; shown || data["token_reviewer_jwt_set"] != true {
		t.Errorf("%v", data)
	}
}

func TestSelector(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure()
	b.api.Label("prod", "team", "blue")
	for text, fits := range map[string]bool{
		`{"matchLabels":{"team":"blue"}}`: true,
		`{"matchLabels":{"team":"red"}}`:  false,
		`{"matchLabels":{"none":""}}`:     false,
		`{"matchExpressions":[{"key":"team","operator":"In","values":["red","blue"]}]}`:        true,
		`{"matchExpressions":[{"key":"team","operator":"NotIn","values":["blue"]}]}`:           false,
		`{"matchExpressions":[{"key":"none","operator":"NotIn","values":["blue"]}]}`:           true,
		`{"matchExpressions":[{"key":"team","operator":"Exists"}]}`:                            true,
		`{"matchExpressions":[{"key":"team","operator":"DoesNotExist"}]}`:                      false,
		`{"matchLabels":{"team":"blue"},"matchExpressions":[{"key":"x","operator":"Exists"}]}`: false,
	} {
		b.must("role/s", map[string]any{"bound_service_account_names": "app",
			"bound_service_account_namespace_selector": text})
		if err := b.login("s", b.api.Token("prod", "app", nil)); (err == nil) != fits {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{"{}", "null", "[]", "x", `{"matchLabels":{}}`, `{"matchlabel":{"a":"b"}}`,
		`{"matchLabels":{"a":"b"}}{}`, `{"matchExpressions":[{"key":"a","operator":"in","values":["b"]}]}`,
		`{"matchExpressions":[{"key":"a","operator":"In"}]}`, `{"matchExpressions":[{"key":"","operator":"Exists"}]}`,
		`{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]}`} {
		_, err := b.do(t.Context(), "role/bad", map[string]any{"bound_service_account_names": "app",
			"bound_service_account_namespace_selector": bad})
		if err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	b.configure("token_reviewer_jwt", b.api.Token("prod", "app", nil))
	b.refused(b.login("s", b.api.Token("prod", "app", nil)), fault.Unavailable, `needs "get" on namespaces`)
}
