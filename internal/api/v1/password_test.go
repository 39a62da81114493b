package v1

import (
	"strings"
	"testing"
)

func TestPasswordPolicies(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const at = "sys/policies/password"
	w.expect("none", w.do("LIST", at, ""), 404, empty)
	w.expect("unknown", w.do("GET", at+"/pins", ""), 404, empty)
	w.expect("unknown", w.do("GET", at+"/pins/generate", ""), 404, empty)
	w.expect("nothing", w.do("PUT", at+"/pins", `{}`), 400, "")
	w.expect("bad", w.do("PUT", at+"/pins", `{"policy":"length = 2"}`), 400, "")
	w.expect("a slash", w.do("PUT", at+"/a/b", `{"policy":"length = 6\nrule \"charset\" { charset = \"0123456789\" }"}`),
		400, "")
	w.expect("write", w.do("PUT", at+"/pins", `{"policy":"length = 6\nrule \"charset\" { charset = \"0123456789\" }"}`),
		204, "")
	if a := w.do("GET", at+"/pins", ""); !strings.Contains(a.Body.String(), `"data":{"policy":"length = 6\nrule`) {
		t.Errorf("%s", a.Body)
	}
	if a := w.do("LIST", at, ""); !strings.Contains(a.Body.String(), `"data":{"keys":["pins"]}`) {
		t.Errorf("%s", a.Body)
	}
	var made struct{ Data struct{ Password string } }
	w.decode(w.do("GET", at+"/pins/generate", ""), &made)
	if p := made.Data.Password; len(p) != 6 || strings.Trim(p, "0123456789") != "" {
		t.Errorf("the password is %q", p)
	}
	w.expect("delete", w.do("DELETE", at+"/pins", ""), 204, "")
	w.expect("gone", w.do("GET", at+"/pins", ""), 404, empty)
}

func TestPatchPolicy(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	patch := []string{"Content-Type", "application/merge-patch+json"}
	const at = "sys/policies/acl/team"
	w.expect("nothing there", w.do("PATCH", at, `{"cas_required":true}`, patch...), 404, empty)
	w.expect("write", w.do("PUT", at, `{"policy":"path \"a\" { capabilities = [\"read\"] }"}`), 204, "")
	w.expect("as JSON", w.do("PATCH", at, `{"cas_required":true}`, "Content-Type", "application/json"), 415, "")
	w.expect("a flag", w.do("PATCH", at, `{"cas_required":true,"cas":1}`, patch...), 204, "")
	a := w.do("GET", "sys/policies/detailed/acl/team", "")
	for _, want := range []string{`"cas_required":true`, `"policy":"path`, `"version":2`} {
		if !strings.Contains(a.Body.String(), want) {
			t.Errorf("%s has no %s", a.Body, want)
		}
	}
	w.expect("without cas", w.do("PATCH", at, `{"policy":""}`, patch...), 400, "")
	w.expect("bad text", w.do("PATCH", at, `{"policy":"path","cas":2}`, patch...), 400, "")
	w.expect("text", w.do("PATCH", at, `{"policy":"path \"b\" { policy = \"read\" }","cas":2}`, patch...), 204, "")
	w.expect("root", w.do("PATCH", "sys/policies/acl/root", `{"policy":"path \"b\" { policy = \"read\" }"}`, patch...),
		400, "")
}
