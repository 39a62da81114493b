package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Kept: `operator rotate-keys` of OpenBao and Terraform read both forms.
func TestTrap11IntervalOfRotation(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	if got := r.data(200, "GET", "sys/rotate/config", nil)["interval"]; got != 0.0 {
		t.Errorf("unset: %v (%T)", got, got)
	}
	for _, interval := range []any{"24h", 86400} {
		r.must(204, "PUT", "sys/rotate/config", map[string]any{"interval": interval})
		if got := r.data(200, "GET", "sys/rotate/config", nil)["interval"]; got != "24h0m0s" {
			t.Errorf("%v: %v", interval, got)
		}
	}
	r.refused(400, "PUT", "sys/rotate/config", map[string]any{"interval": "1h"}, "24h0m0s")
}

// Kept: tests of clients compare the texts. One line where no token was looked at, two where one
// was and may not.
func TestTrap17TwoTexts(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	weak := r.as(r.tokenFor("trap17", `path "kv/trap17" { capabilities = ["read"] }`))
	two := func(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }
	for _, tc := range []struct {
		who          *harness
		method, path string
		code         int
		text         string
	}{
		{r.as(""), "GET", "kv/a", 403, "permission denied"},
		{r.as("s.unknown"), "GET", "kv/a", 403, "permission denied"},
		{r.as("s.unknown"), "GET", "nowhere/a", 403, "permission denied"},
		{weak, "GET", "kv/other", 403, two("permission denied")},
		{weak, "PUT", "kv/trap17", 403, two("permission denied")},
		{weak, "PUT", "sys/rotate", 403, two("permission denied")},
		{r, "GET", "sys/nothing", 404, two("unsupported path")},
		{r, "GET", "sys/rotate", 405, two("unsupported operation")},
		{r, "GET", "nowhere/a", 404, `no handler for route "nowhere/a". route entry not found.`},
		{r, "GET", "kv/nothing", 404, ""},
		{r.as(""), "DELETE", "sys/seal-status", 405, ""},
	} {
		if reply := tc.who.call(tc.method, tc.path, nil); reply.Code != tc.code || reply.Errors() != tc.text {
			t.Errorf("%s %s: %d %q; want %d %q", tc.method, tc.path, reply.Code, reply.Errors(), tc.code, tc.text)
		}
	}
}

// Kept: clean-up scripts revoke what may be gone, and look a token up to learn whether it is.
func TestTrap18BadTokens(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	const bad = "s.000000000000000000000000"
	r.refused(403, "POST", "auth/token/lookup", map[string]string{"token": bad}, "bad token")
	r.must(204, "POST", "auth/token/revoke", map[string]string{"token": bad})
	r.as(bad).must(403, "POST", "auth/token/revoke-self", nil)
}

// Kept: policies of operators are written for these two ways to an orphan.
func TestTrap19Orphans(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	weak := r.as(r.tokenFor("trap19", `path "auth/token/create*" { capabilities = ["create", "update"] }`))
	weak.must(200, "POST", "auth/token/create", nil)
	var out struct{ Auth struct{ Orphan bool } }
	r.decode(weak.must(200, "POST", "auth/token/create-orphan", nil), &out)
	if !out.Auth.Orphan {
		t.Error("create-orphan: not an orphan")
	}
	weak.refused(400, "POST", "auth/token/create", map[string]bool{"no_parent": true},
		"root or sudo privileges required to create orphan token")
	r.must(200, "POST", "auth/token/create", map[string]bool{"no_parent": true})
	strong := r.as(r.tokenFor("trap19sudo", `path "auth/token/create" { capabilities = ["update", "sudo"] }`))
	r.decode(strong.must(200, "POST", "auth/token/create", map[string]bool{"no_parent": true}), &out)
	if !out.Auth.Orphan {
		t.Error("no_parent with sudo: not an orphan")
	}
}

// Kept: SDKs send lists, and the CLI's list of policies is compared by scripts. The warning that
// follows shows the mistake.
func TestTrap20ListsOfPolicies(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	var out struct {
		Warnings []string
		Auth     struct{ Policies []string }
	}
	r.decode(r.must(200, "POST", "auth/token/create", map[string]string{"policies": "trap20a,trap20b"}), &out)
	if !slices.Equal(out.Auth.Policies, []string{"default", "trap20a,trap20b"}) ||
		!strings.Contains(fmt.Sprint(out.Warnings), `"trap20a,trap20b" does not exist`) {
		t.Errorf("policies %q, warnings %q", out.Auth.Policies, out.Warnings)
	}
	r.must(204, "PUT", "sys/policies/acl/zz-trap20", map[string]string{"policy": `path "x" { capabilities = ["read"] }`})
	keys := r.data(200, "LIST", "sys/policies/acl", nil)["keys"].([]any)
	if !slices.Contains(keys, any("zz-trap20")) || keys[len(keys)-1] != "root" {
		t.Errorf("root is not the last: %v", keys)
	}
}

// Fixed: a request without its token is a mistake of the client, 400; a 500 would be repeated by
// every SDK.
func TestTrap21CapabilitiesWithoutAToken(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	r.refused(400, "POST", "sys/capabilities", map[string]string{"path": "kv/a"}, "no token found")
	r.refused(400, "POST", "sys/capabilities", map[string]string{"path": "kv/a", "token": "s.unknown"}, "invalid token")
	r.refused(400, "POST", "sys/capabilities-self", nil, "paths must be supplied")
}

// Kept: `kv get` and every SDK show the metadata of what was deleted.
func TestTrap22DeletedVersionHasABody(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	r.must(200, "PUT", "kv2/data/trap22", map[string]any{"data": map[string]string{"user": "alice"}})
	r.must(204, "DELETE", "kv2/data/trap22", nil)
	got := r.data(404, "GET", "kv2/data/trap22", nil)
	meta, _ := got["metadata"].(map[string]any)
	if value, there := got["data"]; !there || value != nil || meta["version"] != 1.0 || meta["deletion_time"] == "" {
		t.Errorf("a deleted version: %v", got)
	}
	if body := r.must(404, "GET", "kv2/data/never", nil).Body; strings.TrimSpace(string(body)) != `{"errors":[]}` {
		t.Errorf("a secret that never was: %s", body)
	}
	out, _ := r.run(0, "", "kv", "get", "kv2/trap22")
	saysAll(t, "kv get", out, "deletion_time", "version")
}

// Kept: the intended recipient learns that the token was used before, whatever the earlier caller
// tried.
func TestTrap30WrappingTokenUsedElsewhere(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	for _, path := range []string{"auth/token/lookup-self", "kv/a"} {
		wrapped := r.as(r.wrapped())
		wrapped.must(403, "GET", path, nil)
		wrapped.refused(400, "PUT", "sys/wrapping/unwrap", nil, "wrapping token is not valid or does not exist")
	}
	r.as(r.wrapped()).must(200, "PUT", "sys/wrapping/unwrap", nil)
}

// wrapped is a wrapping token.
func (r *harness) wrapped() string {
	r.t.Helper()
	reply, _ := r.send("POST", "sys/wrapping/wrap", `{"a":"b"}`, "X-Vault-Wrap-TTL", "60s")
	var out struct {
		RequestID *string                `json:"request_id"`
		Info      struct{ Token string } `json:"wrap_info"`
	}
	r.decode(reply, &out)
	if reply.Code != 200 || out.Info.Token == "" || out.RequestID == nil || *out.RequestID != "" {
		r.t.Fatalf("wrapped: %d %s", reply.Code, reply.Body)
	}
	r.known.add("a wrapping token", out.Info.Token)
	return out.Info.Token
}

// Kept: health checks and browsers look for the header, also where a proxy ends TLS; and the
// envelope of a wrapped answer is compared by tests of clients: its request_id is empty.
func TestTrap31HeadersAndWrappedAnswers(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	_ = r.wrapped()
	for _, path := range []string{"sys/health", "kv/a", "sys/nothing"} {
		_, header := r.send("GET", path, "")
		if got := header.Get("Strict-Transport-Security"); got != "max-age=31536000; includeSubDomains" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// Kept: curl and dashboards send none.
func TestTrap32RequestHeaderIsNotAsked(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	for _, headers := range [][]string{nil, {"X-Vault-Request", "true"}, {"X-Vault-Request", "false"},
		{"X-Vault-Request", ""}} {
		if reply, _ := r.send("GET", "auth/token/lookup-self", "", headers...); reply.Code != 200 {
			t.Errorf("%v: %d %s", headers, reply.Code, reply.Body)
		}
	}
}

// Kept: clients of other versions send fields that this server has never heard of. Where there is a
// body, it says so.
func TestTrap33UnknownFields(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	const words = "Endpoint ignored these unrecognized parameters: [tomorrow]"
	for _, tc := range []struct {
		code   int
		path   string
		body   string
		warned bool
	}{
		{200, "kv2/data/trap33", `{"data":{"a":1},"tomorrow":1}`, true},
		{200, "auth/token/create", `{"tomorrow":1}`, true},
		{204, "sys/rotate/config", `{"tomorrow":1}`, false},
		{204, "sys/policies/acl/trap33", `{"policy":"path \"x\" {capabilities=[\"read\"]}","tomorrow":1}`, false},
	} {
		var out struct{ Warnings []string }
		reply := r.must(tc.code, "PUT", tc.path, tc.body)
		_ = json.Unmarshal(reply.Body, &out)
		if slices.Contains(out.Warnings, words) != tc.warned {
			t.Errorf("%s: %s", tc.path, reply.Body)
		}
	}
}
