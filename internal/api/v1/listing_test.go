package v1

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPoliciesBoundLists(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, name := range []string{"a", "b", "c/x", "c/y", "d/z", "e"} {
		w.expect(name, w.do("PUT", "secret/"+name, `{"k":"v"}`), 204, "")
	}
	const filter = `list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}"`
	for name, text := range map[string]string{
		"two": `path "secret/" { capabilities = ["list"] pagination_limit = 2 }`,
		"seen": `path "secret/" { capabilities = ["list", "scan"] ` + filter + ` } path "secret/a" { capabilities = ["read"] }
			path "secret/c/*" { capabilities = ["read"] } path "secret/e" { capabilities = ["deny"] }`,
		"elsewhere": `path "secret/" { capabilities = ["list"]
			list_scan_response_keys_filter_path = "{{ .path | replace \"secret/\" \"other/\" }}{{ .key }}" } path "other/b" { capabilities = ["update"] }`,
		"nothing": `path "secret/" { capabilities = ["list"] ` + filter + ` }`,
		"names":   `path "sys/policies/acl" { capabilities = ["list"] pagination_limit = 1 }`,
	} {
		w.expect(name, w.do("PUT", "sys/policies/acl/"+name, `{"policy":`+quoted(text)+`}`), 204, "")
		w.grant("t-"+name, moment.AddDate(1, 0, 0), name)
	}
	for _, tc := range []struct {
		token, path string
		code        int
		want        string
	}{
		{"two", "secret/?list=true", 200, `"data":{"keys":["a","b"]}`},
		{"two", "secret/?list=true&limit=1", 200, `"data":{"keys":["a"]}`},
		{"two", "secret/?list=true&after=b", 200, `"data":{"keys":["c/","d/"]}`},
		{"two", "secret/?list=true&limit=3", 403, "permission denied"},
		{"two", "secret/?list=true&limit=-1", 403, "permission denied"},
		{"seen", "secret/?list=true", 200, `"data":{"keys":["a","c/"]}`},
		{"seen", "secret/?scan=true", 200, `"data":{"keys":["a","c/x","c/y"]}`},
		{"elsewhere", "secret/?list=true", 200, `"data":{"keys":["b"]}`},
		{"nothing", "secret/?list=true", 404, empty},
		{"names", "sys/policies/acl?list=true", 200, `"data":{"keys":["default"]}`},
	} {
		a := w.do("GET", tc.path, "", "X-Vault-Token", "t-"+tc.token)
		if a.Code != tc.code || !strings.Contains(a.Body.String(), tc.want) {
			t.Errorf("%s %s: %d %s", tc.token, tc.path, a.Code, a.Body)
		}
	}
	for _, bad := range []string{`{{ .key | upper }}`, `{{ range .path }}`, `{{ .path`, ``, `{{ .path | replace "" "x" }}`,
		`{{ .pathkey }}`} {
		body := `{"policy":` + quoted(`path "a" { capabilities = ["list"] list_scan_response_keys_filter_path = `+
			quoted(bad)+` }`) + `}`
		w.expect(bad, w.do("PUT", "sys/policies/acl/bad", body), 400, "")
	}
	w.expect("a limit", w.do("PUT", "sys/policies/acl/bad", `{"policy":"path \"a\" { pagination_limit = -1 }"}`), 400, "")
}

// quoted is a text in JSON, which is one in HCL too.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestGrantingPoliciesAreAudited(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	w.expect("policy", w.do("PUT", "sys/policies/acl/app",
		`{"policy":"path \"secret/*\" { capabilities = [\"read\", \"update\"] }"}`), 204, "")
	w.expect("policy", w.do("PUT", "sys/policies/acl/ops", `{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}`),
		204, "")
	token := w.grant("worker", moment.AddDate(1, 0, 0), "app", "default", "ops")
	w.expect("read", w.do("GET", "secret/x", "", "X-Vault-Token", token), 404, empty)
	w.expect("denied", w.do("GET", "sys/mounts", "", "X-Vault-Token", token), 403, "")
	got := w.trail(log)
	for _, want := range []string{
		`"allowed":true,"granting_policies":[{"name":"app","namespace_id":"root","type":"acl"},{"name":"ops","namespace_id":"root","type":"acl"}]`,
		`"allowed":false}`, `"granting_policies":[{"name":"root"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

func TestWhatAQuotaRefusesIsAuditedWhereAsked(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	w.expect("quota", w.do("POST", "sys/quotas/rate-limit/tight", `{"rate":1,"interval":"100s","path":"secret/"}`), 204,
		"")
	w.expect("first", w.do("GET", "secret/x", ""), 404, empty)
	w.expect("silent", w.do("GET", "secret/silent", ""), 429, "")
	w.expect("on", w.do("POST", "sys/quotas/config", `{"enable_rate_limit_audit_logging":true}`), 204, "")
	w.expect("first", w.do("GET", "secret/x", ""), 404, empty)
	w.expect("heard", w.do("GET", "secret/heard", ""), 429, "")
	got := w.trail(log)
	if strings.Contains(got, "secret/silent") || strings.Count(got, `"path":"secret/heard"`) != 2 ||
		!strings.Contains(got, "rate limit quota exceeded") {
		t.Errorf("the trail is\n%s", got)
	}
}
