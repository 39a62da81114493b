package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/kubeapi"
	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// peerRow is one request that Sealgate answers as OpenBao does: the status, the texts of errors and
// warnings, and the data of a read.
type peerRow struct {
	verb, path string
	body       fields
	own        string // not "": our text, which says more, has this instead
}

type fields map[string]any

// peers are a Sealgate and an OpenBao that get the same requests.
type peers struct {
	*harness
	bao *openbao.Server
	// only one of the two has these, or their value is another by design
	ignored []string
}

type peerAnswer struct {
	Data     map[string]any `json:"data"`
	Errors   []string       `json:"errors"`
	Warnings []string       `json:"warnings"`
	Auth     *struct {
		ClientToken string         `json:"client_token"`
		Policies    []string       `json:"policies"`
		Metadata    map[string]any `json:"metadata"`
		Duration    int            `json:"lease_duration"`
		Orphan      bool           `json:"orphan"`
		NumUses     int            `json:"num_uses"`
	} `json:"auth"`
}

func newPeers(t *testing.T) *peers {
	t.Helper()
	p := &peers{harness: newStaticHarness(t), bao: openbao.Start(t)}
	p.mustStart()
	p.mustInit()
	return p
}

func (p *peers) ask(addr, token string, row peerRow) (int, peerAnswer) {
	p.t.Helper()
	var in io.Reader
	if row.body != nil {
		raw, err := json.Marshal(row.body)
		if err != nil {
			p.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), row.verb, addr+"/v1/"+row.path, in)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var a peerAnswer
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			p.t.Fatalf("%s %s: %v: %s", row.verb, row.path, err, raw)
		}
	}
	if a.Auth != nil {
		p.known.add("a token", a.Auth.ClientToken)
		a.Auth.ClientToken = ""
	}
	for _, name := range p.ignored {
		delete(a.Data, name)
	}
	for name, v := range a.Data { // null and an empty list are one to clients
		if list, ok := v.([]any); ok && len(list) == 0 {
			a.Data[name] = nil
		}
	}
	return resp.StatusCode, a
}

// same sends a request to both, and compares.
func (p *peers) same(rows ...peerRow) {
	p.t.Helper()
	for _, row := range rows {
		code, got := p.ask(p.URL(), p.root, row)
		wantCode, want := p.ask("http://"+p.bao.Addr, p.bao.Root, row)
		what := fmt.Sprintf("%s %s %.300v", row.verb, row.path, row.body)
		if code != wantCode {
			p.t.Errorf("%s: status %d %q, OpenBao's %d %q", what, code, got.Errors, wantCode, want.Errors)
			continue
		}
		if row.own != "" {
			if !strings.Contains(strings.Join(got.Errors, "\n"), row.own) {
				p.t.Errorf("%s: %q does not have %q", what, got.Errors, row.own)
			}
			continue
		}
		if !slices.Equal(got.Errors, want.Errors) || !slices.Equal(got.Warnings, want.Warnings) {
			p.t.Errorf("%s:\n%q %q\nOpenBao:\n%q %q", what, got.Errors, got.Warnings, want.Errors, want.Warnings)
		}
		if !reflect.DeepEqual(got.Data, want.Data) || !reflect.DeepEqual(got.Auth, want.Auth) {
			p.t.Errorf("%s:\n%v %+v\nOpenBao:\n%v %+v", what, got.Data, got.Auth, want.Data, want.Auth)
		}
	}
}

// with returns the fields with some more.
func (f fields) with(name string, v any, more ...any) fields {
	out := fields{name: v}
	for i := 0; i < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	for k, v := range f {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out
}

// TestKubernetesAsOpenBao drives the Kubernetes method of both by the same requests, on one API
// server.
func TestKubernetesAsOpenBao(t *testing.T) {
	t.Parallel()
	p := newPeers(t)
	p.ignored = []string{"token_strictly_bind_ip", "token_reviewer_jwt_set"}
	k := kubeapi.Start(t)
	k.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u-app"})
	k.Put(kubeapi.Account{Namespace: "prod", Name: "reviewer", UID: "u-rev", Reviews: true, Namespaces: true})
	k.Put(kubeapi.Account{Namespace: "test", Name: "app", UID: "u-test"})
	k.Label("prod", "team", "x")
	p.same(peerRow{"POST", "sys/auth/kubernetes", fields{"type": "kubernetes"}, ""},
		peerRow{"POST", "auth/kubernetes/login", fields{"role": "r", "jwt": "x"}, ""})
	p.kubernetesConfig(k)
	p.kubernetesRoles()
	p.kubernetesLogins(k)
}

func (p *peers) kubernetesConfig(k *kubeapi.Server) {
	const path = "auth/kubernetes/config"
	config := fields{"kubernetes_host": k.URL, "kubernetes_ca_cert": k.CA}
	p.same(
		peerRow{"GET", path, nil, ""},
		peerRow{"POST", path, fields{}, ""},
		peerRow{"POST", path, fields{"kubernetes_host": k.URL}, "give the certificate of the authority"},
		peerRow{"POST", path, fields{"kubernetes_host": k.URL, "disable_local_ca_jwt": true}, ""},
		peerRow{"POST", path, config.with("pem_keys", "abc"), ""},
		peerRow{"POST", path, config.with("pem_keys", []string{"abc"}), ""},
		peerRow{"POST", path, config.with("disable_local_ca_jwt", true), ""},
		peerRow{"GET", path, nil, ""},
		peerRow{"POST", path, config.with("pem_keys", []string{k.PublicKey()}, "issuer", "i", "disable_iss_validation", false,
			"token_reviewer_jwt", k.Token("prod", "reviewer", nil)), ""},
		peerRow{"GET", path, nil, ""},
		peerRow{"DELETE", path, nil, ""},
		peerRow{"GET", "auth/kubernetes/login", nil, ""},
		peerRow{"GET", "auth/kubernetes/other", nil, ""},
	)
}

func (p *peers) kubernetesRoles() {
	const path = "auth/kubernetes/role/"
	any, all := fields{"bound_service_account_names": "*"}, "bound_service_account_namespaces"
	for _, name := range []string{"p", "q"} { // we warn of policies that do not exist
		p.same(peerRow{"POST", "sys/policies/acl/" + name, fields{"policy": `path "x" { capabilities = ["read"] }`}, ""})
	}
	p.same(
		peerRow{"LIST", "auth/kubernetes/role", nil, ""},
		peerRow{"GET", path + "none", nil, ""},
		peerRow{"POST", path + "r", fields{}, ""},
		peerRow{"POST", path + "r", any, ""},
		peerRow{"POST", path + "r", fields{"bound_service_account_names": "*,a", all: "prod"}, ""},
		peerRow{"POST", path + "r", any.with(all, "*,prod"), ""},
		peerRow{"POST", path + "r", any.with(all, "*", "alias_name_source", "x"), ""},
		peerRow{"POST", path + "r", any.with("bound_service_account_namespace_selector", "zz"), "invalid " +
			`"bound_service_account_namespace_selector" configured`},
		peerRow{"POST", path + "R", fields{"bound_service_account_names": []string{"ap*"}, all: "pro*,x", "policies": "p,q",
			"ttl": "1h", "token_period": "2h", "num_uses": 5, "bound_cidrs": "127.0.0.1", "token_type": "service"}, ""},
		peerRow{"GET", path + "r", nil, ""},
		peerRow{"POST", path + "r", fields{"audience": "vault", "alias_name_source": "serviceaccount_name"}, ""},
		peerRow{"GET", path + "R", nil, ""},
		peerRow{"POST", path + "r", fields{"audience": ""}, ""},
		peerRow{"POST", path + "star", any.with(all, "*"), ""},
		peerRow{"POST", path + "aud", any.with(all, "prod", "audience", "vault"), ""},
		peerRow{"POST", path + "select", any.with("bound_service_account_namespace_selector",
			`{"matchLabels":{"team":"x"}}`), ""},
		peerRow{"GET", path + "select", nil, ""},
		peerRow{"LIST", "auth/kubernetes/role", nil, ""},
		peerRow{"DELETE", path + "none", nil, ""},
	)
}

func (p *peers) kubernetesLogins(k *kubeapi.Server) {
	token := func(namespace, name string, audiences []string, change ...func(kubeapi.Claims)) string {
		return k.Token(namespace, name, audiences, change...)
	}
	set := func(name string, v any) func(kubeapi.Claims) { return func(c kubeapi.Claims) { c[name] = v } }
	login := func(role, jwt string) peerRow {
		return peerRow{"POST", "auth/kubernetes/login", fields{"role": role, "jwt": jwt}, ""}
	}
	config := fields{"kubernetes_host": k.URL, "kubernetes_ca_cert": k.CA}
	app := token("prod", "app", nil)
	other := kubeapi.Start(p.t) // another cluster, with an account of the same name and UID
	other.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u-app"})
	configs := []peerRow{
		{"POST", "auth/kubernetes/config", config.with("token_reviewer_jwt", token("prod", "reviewer", nil)), ""},
		{"POST", "auth/kubernetes/config", config.with("token_reviewer_jwt", token("prod", "reviewer", nil), "pem_keys",
			[]string{other.PublicKey(), k.PublicKey()}), ""},
		{"POST", "auth/kubernetes/config", config, ""}, // the client's token reviews itself
	}
	rows := []peerRow{
		{"POST", "auth/kubernetes/login", fields{"role": "star"}, ""},
		{"POST", "auth/kubernetes/login", fields{"jwt": "x"}, ""},
		login("none", app), login("star", "x"), login("star", "a.b.c"), login("star", app), login("STAR", app),
		login("R", app), login("r", token("test", "app", nil)), login("r", token("prod", "reviewer", nil)),
		login("star", token("prod", "reviewer", nil)), login("star", token("prod", "app", []string{"other"})),
		login("aud", app), login("aud", token("prod", "app", []string{"vault", "x"})),
		login("aud", token("test", "app", []string{"vault"})),
		login("select", app), login("select", token("test", "app", nil)),
		login("star", k.SecretToken("prod", "app")), login("star", other.Token("prod", "app", nil)),
		login("star", token("prod", "app", nil, set("exp", 1))),
		login("star", token("prod", "app", nil, set("nbf", 9999999999))),
		login("star", token("prod", "app", nil, func(c kubeapi.Claims) { delete(c, "kubernetes.io") })),
		login("star", token("prod", "app", nil, set("kubernetes.io", map[string]any{"namespace": "prod",
			"serviceaccount": map[string]any{"name": "reviewer", "uid": "u-app"}}))),
		login("star", app[:len(app)-8]+"AAAAAAAA"),
		login("star", "eyJhbGciOiJub25lIn0."+strings.Split(app, ".")[1]+"."),
	}
	for _, c := range configs {
		p.same(c)
		p.same(rows...)
	}
	p.same(peerRow{"POST", "auth/kubernetes/config", config.with("disable_iss_validation", false, "issuer", "x"), ""},
		login("star", app))
	k.Delete("prod", "app")
	p.same(configs[0], login("star", app))
}

// TestOlderNamesAsOpenBao: parameters are shown by the deprecated names under which they were
// written, beside the current ones, until they are written by the current ones.
func TestOlderNamesAsOpenBao(t *testing.T) {
	t.Parallel()
	p := newPeers(t)
	p.ignored = []string{"token_strictly_bind_ip", "local_secret_ids", "callback_mode", "oauth2_metadata",
		"oidc_disable_confirmation", "token_policies_template_claims", "verbose_oidc_logging", "token_reviewer_jwt_set",
		"bound_claims", "claim_mappings", "totp_enrolled", "totp_required"}
	k := kubeapi.Start(t)
	for _, kind := range []string{"userpass", "approle", "jwt", "kubernetes"} {
		p.same(peerRow{"POST", "sys/auth/" + kind, fields{"type": kind}, ""})
	}
	p.same(peerRow{"POST", "auth/jwt/config", fields{"jwt_validation_pubkeys": k.PublicKey()}, ""})
	most := []string{"policies", "ttl", "max_ttl", "bound_cidrs"}
	for _, of := range []struct {
		path  string
		base  fields
		names []string
	}{
		{"auth/userpass/users/u", fields{"password": "correct horse"}, most},
		{"auth/approle/role/r", fields{"bind_secret_id": true}, []string{"policies", "period"}},
		{"auth/jwt/role/r", fields{"role_type": "jwt", "user_claim": "sub", "bound_subject": "x"},
			append([]string{"period", "num_uses"}, most...)},
		{"auth/kubernetes/role/r", fields{"bound_service_account_names": "*", "bound_service_account_namespaces": "*"},
			append([]string{"period", "num_uses"}, most...)},
		{"auth/token/roles/r", fields{"orphan": true}, []string{"period", "explicit_max_ttl", "bound_cidrs"}},
	} {
		values := map[string][2]any{"policies": {"p", "q"}, "ttl": {"1h", "20m"}, "max_ttl": {"2h", "3h"},
			"period": {"30m", "40m"}, "num_uses": {7, 8}, "bound_cidrs": {"127.0.0.1", "127.0.0.0/8"},
			"explicit_max_ttl": {"5h", "6h"}}
		read := peerRow{"GET", of.path, nil, ""}
		p.same(peerRow{"POST", of.path, of.base, ""}, read)
		for _, name := range of.names {
			v := values[name]
			p.same(peerRow{"POST", of.path, of.base.with(name, v[0]), ""}, read,
				peerRow{"POST", of.path, of.base, ""}, read,
				peerRow{"POST", of.path, of.base.with("token_"+name, v[1]), ""}, read,
				peerRow{"POST", of.path, of.base.with(name, v[0], "token_"+name, v[0]), ""}, read)
		}
	}
}

// TestTokenRolesAsOpenBao: periods and types of roles and of the call (case 16 f and g).
func TestTokenRolesAsOpenBao(t *testing.T) {
	t.Parallel()
	p := newPeers(t)
	role := func(name string, body fields) peerRow { return peerRow{"POST", "auth/token/roles/" + name, body, ""} }
	create := func(role string, body fields) peerRow {
		return peerRow{"POST", "auth/token/create/" + role, body.with("policies", []string{"default"}), ""}
	}
	p.same(role("batch", fields{"token_type": "default-batch", "period": "1h", "orphan": true}),
		create("batch", fields{}), create("batch", fields{"type": "service"}), create("batch", fields{"type": "batch"}),
		create("batch", fields{"period": "2h"}),
		role("period", fields{"token_period": "1h", "orphan": true}),
		create("period", fields{}), create("period", fields{"period": "2h"}), create("period", fields{"period": "30m"}),
		create("period", fields{"explicit_max_ttl": "2h"}),
		role("refused", fields{"token_type": "batch", "period": "1h", "orphan": true}),
		role("refused", fields{"token_type": "batch"}),
		peerRow{"POST", "auth/token/roles/refused", fields{"token_type": "x"}, "invalid 'token_type' value"},
	)
}

// TestCertConfigAsOpenBao: revocation lists, OCSP fields and settings of the certificate method.
func TestCertConfigAsOpenBao(t *testing.T) {
	t.Parallel()
	p := newPeers(t)
	p.ignored = []string{"token_strictly_bind_ip", "issuer", "this_update", "next_update"}
	a := newAuthority(t)
	const config, lists, entry = "auth/cert/config", "auth/cert/crls", "auth/cert/certs/c"
	ca := fields{"certificate": string(a.pem)}
	p.same(peerRow{"POST", "sys/auth/cert", fields{"type": "cert"}, ""},
		peerRow{"GET", config, nil, ""}, peerRow{"POST", config, fields{}, ""},
		peerRow{"POST", config, fields{"disable_binding": true, "ocsp_cache_size": 50,
			"enable_identity_alias_metadata": true}, ""},
		peerRow{"GET", config, nil, ""}, peerRow{"POST", config, fields{"ocsp_cache_size": 1}, ""},
		peerRow{"LIST", lists, nil, ""}, peerRow{"POST", lists + "/a", fields{}, ""},
		peerRow{"POST", lists + "/a", fields{"crl": "x"}, "failed to parse CRL"},
		peerRow{"POST", lists + "/a", fields{"url": ""}, ""},
		peerRow{"POST", lists + "/A", fields{"crl": a.crl(7, 255)}, ""},
		peerRow{"GET", lists + "/a", nil, ""}, peerRow{"LIST", lists, nil, ""},
		peerRow{"GET", lists + "/none", nil, ""}, peerRow{"DELETE", lists + "/none", nil, ""},
		peerRow{"DELETE", lists + "/a", nil, ""}, peerRow{"LIST", lists, nil, ""},
		peerRow{"POST", entry, ca, ""}, peerRow{"GET", entry, nil, ""},
		peerRow{"POST", entry, ca.with("ocsp_enabled", true, "ocsp_fail_open", true, "ocsp_query_all_servers", true,
			"ocsp_servers_override", "http://a.example,http://b.example", "ocsp_ca_certificates", string(a.pem)), ""},
		peerRow{"GET", entry, nil, ""},
	)
}
