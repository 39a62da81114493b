package v1

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/storage"
)

const empty = `{"errors":[]}`

func TestMethods(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("POST", "secret/a", `{"x":"y"}`), 204, "")
	for _, tc := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "secret/a", 200, ""},
		{"HEAD", "secret/a", 200, ""},
		{"HEAD", "secret/none", 404, ""},
		{"HEAD", "sys/health", 200, ""},
		{"LIST", "secret", 200, ""},
		{"LIST", "secret/", 200, ""},
		{"GET", "secret?list=true", 200, ""},
		{"GET", "secret/?list=1", 200, ""},
		{"GET", "secret/a?list=false", 200, ""},
		{"GET", "secret/a?list=", 200, ""},
		{"GET", "secret/a?list=maybe", 400, empty},
		{"GET", "secret/a?scan=maybe", 400, empty},
		{"GET", "secret/a?list=true&scan=true", 400, empty},
		{"GET", "secret/a?%zz", 400, ""},
		{"SCAN", "secret/", 200, ""},
		{"PUT", "secret/a/", 400, refusal("cannot write to a path ending in '/'")},
		{"PATCH", "secret/a", 415, refusal(`PATCH requires Content-Type application/merge-patch+json; "" was given`)},
		{"OPTIONS", "secret/a", 405, empty},
		{"TRACE", "sys/health", 405, empty},
		{"BREW", "secret/a", 405, empty},
		{"DELETE", "sys/init", 405, empty},
		{"LIST", "sys/health", 405, empty},
		{"GET", "sys/unseal", 405, empty},
		{"GET", "sys/seal", 405, empty},
		{"PUT", "sys/seal-status", 405, empty},
		{"DELETE", "sys/leader", 405, empty},
		{"GET", "sys/rekey/update", 405, empty},
		{"GET", "sys/rotate", 405, refusal("1 error occurred:\n\t* unsupported operation\n\n")},
		{"PUT", "sys/internal/ui/mounts", 405, refusal("unsupported operation")},
		{"GET", "sys/nowhere", 404, refusal("1 error occurred:\n\t* unsupported path\n\n")},
		{"GET", "sys", 404, refusal("1 error occurred:\n\t* unsupported path\n\n")},
		{"GET", "auth/nowhere/login", 404, refusal(`no handler for route "auth/nowhere/login". route entry not found.`)},
		{"GET", "sys/mounts/secret/tune", 200, ""},
		{"GET", "sys/rekey/verify", 400, refusal("no rekey configuration found")},
		{"GET", "sys/rotate/root/update", 405, refusal("1 error occurred:\n\t* unsupported operation\n\n")},
		{"GET", "sys/rekey-recovery-key/backup", 404, refusal("1 error occurred:\n\t* unsupported path\n\n")},
		{"PATCH", "sys/generate-root/attempt", 405, empty},
		{"GET", "sys/recovery/prove", 405, refusal("unsupported operation")},
		{"GET", "cubbyhole/a", 404, empty},
		{"GET", "identity/a", 404, refusal("1 error occurred:\n\t* unsupported path\n\n")},
		{"GET", "sys/mounts/", 400, refusal("the path ends in a slash, which only lists do; name it without")},
		{"GET", "sys/mounts/nope", 400, refusal("No secret engine mount at nope/")},
		{"GET", "nowhere/x", 404, refusal(`no handler for route "nowhere/x". route entry not found.`)},
		{"GET", "", 404, ""},
		{"POST", "auth/token/lookup-self", 200, ""},
	} {
		w.expect(tc.method+" "+tc.path, w.do(tc.method, tc.path, ""), tc.code, tc.body)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, url := range []string{"/", "/v1", "/ui/", "/v2/secret/a", "/V1/secret/a", "v1/secret/a", ""} {
		w.expect(fmt.Sprintf("%q", url), w.send(w.request("GET", url, "")), 404, empty)
	}
	for _, path := range []string{
		"secret/a\x00", "secret/\n", "secret/\xff\xfe", "secret/\x7f",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
			if a := w.do(method, path, `{"a":1}`); a.Code != 400 {
				t.Errorf("%s %q: %d %s", method, path, a.Code, a.Body)
			}
		}
	}
	for given, clean := range map[string]string{
		"secret/../sys/seal-status": "sys/seal-status", "secret/.": "secret", "secret/./a": "secret/a",
		"secret//a": "secret/a", "/secret": "secret", "//secret///a": "secret/a", "sys//health": "sys/health",
		"sys/../secret/a": "secret/a", "sys/mounts/a//b": "sys/mounts/a/b",
		"secret//metadata/?list=true":       "secret/metadata/?list=true",
		"sys/internal/ui/mounts/../x?a=%2F": "sys/internal/ui/x?a=%2F", "secret//a b%ü": "secret/a%20b%25%C3%BC",
		"secret//\r\nX-Evil: 1": "secret/%0D%0AX-Evil:%201",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
			a := w.do(method, given, `{"a":1}`, "X-Vault-Token", "")
			if a.Code != 307 || a.Header().Get("Location") != "/v1/"+clean || a.Body.Len() > 0 {
				t.Errorf("%s %q: %d %q %s; want a redirection to %q", method, given, a.Code,
					a.Header().Get("Location"), a.Body, clean)
			}
		}
	}
	deep := "secret" + strings.Repeat("/a", 10_000)
	for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
		if a := w.do(method, deep, `{"a":1}`); a.Code != 400 && a.Code != 404 {
			t.Errorf("%s with 10,000 segments: %d %.80s", method, a.Code, a.Body)
		}
	}
	for _, odd := range []string{"secret/ü", "secret/a b", "secret/...", "secret/%2e%2e", "secret/a*+"} {
		w.expect("write "+odd, w.do("PUT", odd, `{"a":1}`), 204, "")
		w.expect("read "+odd, w.do("GET", odd, ""), 200, "")
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, path := range []string{"sys/health", "secret/none", "sys/mounts", "nowhere", "sys/nowhere"} {
		a := w.do("GET", path, "")
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Content-Type": "application/json",
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
		} {
			if got := a.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
	for _, tc := range []struct {
		header, value string
		code          int
	}{
		{"Authorization", "Bearer " + w.token, 200},
		{"Authorization", "bearer " + w.token, 403},
		{"Authorization", "Bearer ", 403},
		{"Authorization", w.token, 403},
		{"Authorization", "Basic eDp5", 403},
		{"X-Vault-Token", w.token, 200},
		{"X-Vault-Token", " ", 403},
		{"X-Vault-Token", strings.Repeat("x", 1<<16), 403},
	} {
		w.expect(tc.header+": "+tc.value, w.do("GET", "sys/mounts", "", "X-Vault-Token", "", tc.header, tc.value), tc.code,
			"")
	}
	w.expect("X-Vault-Token wins", w.do("GET", "sys/mounts", "", "X-Vault-Token", "wrong", "Authorization",
		"Bearer "+w.token), 403, "")
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, root := range []string{"", "root", "/", "root/"} {
		a := w.do("GET", "sys/mounts", "", "X-Vault-Namespace", root)
		w.expect("namespace "+root, a, 200, "")
		if got := a.Header().Get("X-Vault-Namespace"); got != root {
			t.Errorf("the namespace %q is echoed as %q", root, got)
		}
	}
	for _, path := range []string{"sys/init", "sys/health", "sys/rekey/init", "sys/rekey-recovery-key/init"} {
		w.expect(path, w.do("GET", path, "", "X-Vault-Namespace", "team"), 400,
			refusal("operation unavailable in namespaces"))
	}
	w.expect("sys/seal", w.do("PUT", "sys/seal", "", "X-Vault-Namespace", "team"), 400,
		refusal("operation unavailable in namespaces"))
	for _, path := range []string{"secret/a", "sys/mounts", "sys/nowhere"} {
		w.expect(path, w.do("GET", path, "", "X-Vault-Namespace", "team"), 404, refusal("namespace not found"))
	}
	for _, path := range []string{"sys/seal-status", "sys/leader"} {
		w.expect(path, w.do("GET", path, "", "X-Vault-Namespace", "team"), 200, "")
	}
}

func TestWrapping(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"x":1}`), 204, "")
	for ttl, code := range map[string]int{"": 200, "0": 200, "0s": 200, "60": 200, "5m": 200, "soon": 400, "-1": 400} {
		w.expect("wrap "+ttl, w.do("GET", "secret/a", "", "X-Vault-Wrap-TTL", ttl), code, "")
	}
	w.expect("a bare answer", w.do("GET", "sys/health", "", "X-Vault-Wrap-TTL", "soon"), 200, "")
}

func TestHealthCodes(t *testing.T) {
	t.Parallel()
	fresh, active := newHarness(t, autoSeal(t)), unsealed(t)
	sealed := unsealed(t)
	sealed.expect("seal", sealed.do("PUT", "sys/seal", ""), 204, "")
	all299 := "uninitcode=299&sealedcode=299&standbycode=299&drsecondarycode=299&performancestandbycode=299&removedcode=299&haunhealthycode=299"
	for _, tc := range []struct {
		query                 string
		fresh, sealed, active int
	}{
		{"", 501, 503, 200},
		{"uninitcode=210&sealedcode=211&activecode=212", 210, 211, 212},
		{all299, 299, 299, 200},
		{"standbyok=true&perfstandbyok=true", 501, 503, 200},
		{"standbyok=", 501, 503, 200},
		{"activecode=204&sealedcode=204", 501, 204, 204},
		{"standbyok=x", 400, 400, 400},
		{"activecode=abc", 400, 400, 400},
		{"sealedcode=", 400, 400, 400},
		{"activecode=100", 400, 400, 400},
		{"activecode=1000", 400, 400, 400},
		{"activecode=0", 400, 400, 400},
		{"activecode=-200", 400, 400, 400},
		{"other=abc", 501, 503, 200},
	} {
		for i, w := range []*harness{fresh, sealed, active} {
			code := []int{tc.fresh, tc.sealed, tc.active}[i]
			body := ""
			if code == 400 {
				body = empty
			}
			for _, method := range []string{"GET", "HEAD"} {
				w.expect(fmt.Sprintf("%s harness %d ?%s", method, i, tc.query), w.do(method, "sys/health?"+tc.query, ""), code,
					body)
			}
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"before":true}`), 204, "")
	nested := strings.Repeat(`{"a":`, 257) + `1` + strings.Repeat(`}`, 257)
	many := `{"a":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`
	for _, tc := range []struct {
		name, body string
		code       int
		text       string
	}{
		{"cut short", `{"a":`, 400, "failed to decode JSON input: "},
		{"no JSON", `a`, 400, "failed to decode JSON input: not valid JSON at byte 1"},
		{"a list", `[1]`, 400, "failed to decode JSON input: the body must be a JSON object"},
		{"a text", `"x"`, 400, "failed to decode JSON input: "},
		{"two objects", `{"a":1}{"b":2}`, 400, "failed to decode JSON input: "},
		{"null", `null`, 400, "missing data fields"},
		{"nothing", ` `, 400, "missing data fields"},
		{"an empty object", `{}`, 400, "missing data fields"},
		{"nested", nested, 400, "refused JSON input due to high complexity: nested deeper than 256"},
		{"unclosed brackets", strings.Repeat("[", 1_000_000), 400, "refused JSON input due to high complexity: "},
		{"many strings", many, 400, "refused JSON input due to high complexity: more than 1000 strings"},
		{"many numbers", `{"a":[` + strings.Repeat("0,", 600_000) + `0]}`, 400,
			"refused JSON input due to high complexity: decoding it would take"},
		{"too large for storage", `{"a":"` + strings.Repeat("x", storage.MaxBytes) + `"}`, 413, "1048576"},
	} {
		a := w.do("PUT", "secret/a", tc.body)
		if a.Code != tc.code || !strings.Contains(a.Body.String(), tc.text) {
			t.Errorf("%s: %d %.200s; want %d %s", tc.name, a.Code, a.Body, tc.code, tc.text)
		}
	}
	a := w.do("GET", "secret/a", "")
	if !strings.Contains(a.Body.String(), `"data":{"before":true}`) {
		t.Errorf("a refused body changed the entry: %s", a.Body)
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) { c.Limits.Body = 1000 })
	big := `{"a":"` + strings.Repeat("x", 1000) + `"}`
	declared := w.request("PUT", "/v1/secret/a", "")
	declared.Body, declared.ContentLength = untouchable{t}, 1001
	w.expect("a length beyond the limit", w.send(declared), 413, "")
	chunked := w.request("PUT", "/v1/secret/a", big)
	chunked.ContentLength = -1
	a := w.send(chunked)
	if a.Code != 413 || !strings.Contains(a.Body.String(), "http: request body too large") ||
		!strings.Contains(a.Body.String(), "1000 bytes") {
		t.Errorf("a body of unknown length beyond the limit: %d %s", a.Code, a.Body)
	}
	exact := `{"a":"` + strings.Repeat("x", 1000-len(`{"a":""}`)) + `"}`
	w.expect("a body of exactly the limit", w.do("PUT", "secret/a", exact), 204, "")
	unknown := w.request("PUT", "/v1/secret/a", "", "X-Vault-Token", "guess")
	unknown.Body, unknown.ContentLength = untouchable{t}, -1
	w.expect("a body without a token", w.send(unknown), 403, "")
	read := w.request("GET", "/v1/sys/health", "")
	read.Body, read.ContentLength = untouchable{t}, 1<<40
	w.expect("an unexpected body", w.send(read), 200, "")
	short := w.request("PUT", "/v1/secret/a", `{"a":1}`)
	short.ContentLength = 100
	w.expect("a body that ends early", w.send(short), 400, "")
	small := newHarness(t, autoSeal(t))
	small.expect("a share of 1 MiB", small.do("PUT", "sys/unseal", `{"key":"`+strings.Repeat("a", 1<<20)+`"}`), 413, "")
}

// untouchable is a body that must not be read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, http.ErrBodyReadAfterClose
}

func (u untouchable) Close() error { return nil }

func TestForms(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	form := "application/x-www-form-urlencoded"
	w.expect("a form", w.do("POST", "secret/f", "a=1&b=x%20y&c=1&c=2", "Content-Type", form), 204, "")
	a := w.do("GET", "secret/f", "")
	if !strings.Contains(a.Body.String(), `"data":{"a":"1","b":"x y","c":["1","2"]}`) {
		t.Errorf("a form was kept as %s", a.Body)
	}
	w.expect("JSON that calls itself a form, as curl does", w.do("POST", "secret/f", ` {"a":2}`, "Content-Type", form),
		204, "")
	w.expect("a broken form", w.do("POST", "secret/f", "a=%zz", "Content-Type", form), 400, "")
	w.expect("a form of a thousand parameters", w.do("POST", "secret/f", strings.Repeat("a&", 1000), "Content-Type", form),
		400, "")
	a = w.do("GET", "secret/f", "")
	if !strings.Contains(a.Body.String(), `"data":{"a":2}`) {
		t.Errorf("the entry is %s", a.Body)
	}
}

func TestStrictBodies(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	for body, want := range map[string]string{
		`{"recovery_shares":"3"}`:        `failed to decode JSON input: "recovery_shares" must be a whole number`,
		`{"recovery_pgp_keys":"a"}`:      `failed to decode JSON input: "recovery_pgp_keys" must be a list of strings`,
		`{"root_token_pgp_key":1}`:       `failed to decode JSON input: "root_token_pgp_key" must be a string`,
		`[]`:                             `failed to decode JSON input: the body must be a JSON object`,
		`{"recovery_shares":3`:           `failed to decode JSON input: not valid JSON at byte 20`,
		`{"recovery_shares":3} x`:        `failed to decode JSON input: not valid JSON at byte 23`,
		`{"secret_shares":1,"a":` + `1}`: `parameters secret_shares not applicable to seal type static`,
	} {
		w.expect(body, w.do("PUT", "sys/init", body), 400, refusal(want))
	}
	w.expect("uninitialised still", w.do("GET", "sys/init", ""), 200, `{"initialized":false}`)
}

func TestFieldConversion(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for body, want := range map[string]string{
		`{"enabled":"perhaps"}`:     `error converting input for field "enabled"`,
		`{"enabled":2}`:             `error converting input for field "enabled"`,
		`{"interval":"soon"}`:       `error converting input for field "interval"`,
		`{"interval":true}`:         `error converting input for field "interval"`,
		`{"max_operations":1.5}`:    `error converting input for field "max_operations"`,
		`{"max_operations":[]}`:     `error converting input for field "max_operations"`,
		`{"max_operations":999999}`: `max_operations must be in the range [1000000,3865470566]`,
		`{"interval":"23h"}`:        `interval must be greater or equal to 24h0m0s`,
		`{"interval":-86400}`:       `interval must be greater or equal to 24h0m0s`,
	} {
		a := w.do("PUT", "sys/rotate/config", body)
		if a.Code != 400 || !strings.Contains(strings.ReplaceAll(a.Body.String(), `\"`, `"`), want) {
			t.Errorf("%s: %d %s", body, a.Code, a.Body)
		}
	}
	w.expect("strings", w.do("PUT", "sys/rotate/config", `{"enabled":"0","interval":"2d","max_operations":"1000000","other":{}}`), 204, "")
	a := w.do("GET", "sys/rotate/config", "")
	if !strings.Contains(a.Body.String(), `"data":{"enabled":false,"interval":"48h0m0s","max_operations":1000000}`) {
		t.Errorf("the configuration is %s", a.Body)
	}
}
