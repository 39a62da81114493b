package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return p
}

func compile(t testing.TB, texts ...string) *ACL {
	t.Helper()
	var all []*Policy
	for _, text := range texts {
		all = append(all, parse(t, text))
	}
	return Compile(start, all...)
}

// named compiles patterns whose capability identifies the one that applies.
func named(t testing.TB, patterns map[string]string) *ACL {
	var b strings.Builder
	for pattern, capability := range patterns {
		fmt.Fprintf(&b, "path %q { capabilities = [%q] }\n", pattern, capability)
	}
	return compile(t, b.String())
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, want string
		patterns         map[string]string
	}{
		{"exact before all", "kv/a", "read", map[string]string{"kv/a": "read", "kv/a*": "update", "kv/+": "delete",
			"*": "list"}},
		{"the longer prefix", "kv/a/b/c", "read", map[string]string{"kv/a/b*": "read", "kv/a/*": "update", "kv/*": "delete"}},
		{"a wildcard further right, although the other has no star", "kv/a/d", "read",
			map[string]string{"kv/a/*": "read", "kv/+/d": "update"}},
		{"no star at the end", "kv/q/x", "read", map[string]string{"kv/q/+": "read", "kv/q/*": "update"}},
		{"a plus is one segment", "kv/q/x/y", "update", map[string]string{"kv/q/+": "read", "kv/q/*": "update"}},
		{"fewer plus", "kv/a/b/c", "read", map[string]string{"kv/+/b/c": "read", "kv/+/+/c": "update"}},
		{"the longer of patterns with plus", "kv/a/bcd", "read", map[string]string{"kv/+/bc*": "read", "kv/+/b*": "update",
			"kv/+/*": "list"}},
		{"the later in the alphabet", "kv/a/b/c/d", "read", map[string]string{"kv/+/b/+/d": "update", "kv/+/+/c/d": "delete",
			"kv/+/b/c/+": "read"}},
		{"plus first", "a/b", "read", map[string]string{"+/b": "read", "*": "update"}},
		{"plus alone", "a", "read", map[string]string{"+": "read"}},
		{"plus in a word is a letter", "a+b", "read", map[string]string{"a+b": "read", "a*": "update"}},
		{"a star in the middle is a letter", "a/x/b", "", map[string]string{"a/*/b": "read"}},
		{"a prefix without slash", "secrets/x", "read", map[string]string{"secret*": "read"}},
		{"a slash in front is not there", "kv/a", "read", map[string]string{"/kv/a": "read"}},
		{"everything", "any/thing", "read", map[string]string{"*": "read"}},
		{"nothing", "kv/b", "", map[string]string{"kv/a": "read", "kv/b/*": "update", "kv/+/c": "list"}},
		{"a star behind plus and a part", "a/x/by/z", "read", map[string]string{"a/+/b*": "read"}},
		{"plus matches an empty segment", "a/", "read", map[string]string{"a/+": "read"}},
	} {
		got := named(t, tc.patterns).find(tc.path, false)
		switch {
		case tc.want == "" && got != nil, tc.want != "" && (got == nil || got.capabilities.String() != tc.want):
			t.Errorf("%s: %q gives %+v, want %q", tc.name, tc.path, got, tc.want)
		}
	}
}

func TestListsLookWithoutTheSlash(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, want string
		patterns         map[string]string
	}{
		{"exact with slash", "kv/a/", "list", map[string]string{"kv/a/": "list", "kv/a": "read"}},
		{"exact without", "kv/a/", "list", map[string]string{"kv/a": "list", "kv/a*": "read"}},
		{"a pattern with slash first", "kv/a/", "list", map[string]string{"kv/a/*": "list", "kv/a*": "read"}},
		{"a pattern without", "kv/a/", "list", map[string]string{"+/a": "list"}},
	} {
		a := named(t, tc.patterns)
		if g, err := a.Allow(Ask{Path: tc.path, Capability: List}); g == nil || err != nil {
			t.Errorf("%s: %v, %v", tc.name, g, err)
		}
	}
	if named(t, map[string]string{"kv/a": "read"}).find("kv/a/", false) != nil {
		t.Error("a read looks without the slash")
	}
}

func TestMerging(t *testing.T) {
	t.Parallel()
	a := compile(t,
		`path "a" { capabilities = ["read"] } path "b" { capabilities = ["read", "sudo"] }
		 path "c" { capabilities = ["list"] }
		 path "w" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }`,
		`path "a" { capabilities = ["update"] } path "b" { capabilities = ["deny", "read"] }
		 path "c*" { capabilities = ["deny"] }
		 path "w" { capabilities = ["update"] min_wrapping_ttl = 30 max_wrapping_ttl = "2h" }`)
	for path, want := range map[string]string{"a": "read,update", "b": "deny", "c": "list", "cc": "deny"} {
		if got := a.Capabilities(path).String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if g := a.exact["w"]; g.minWrap != 30*time.Second || g.maxWrap != time.Hour {
		t.Errorf("wrapping: %v to %v", g.minWrap, g.maxWrap)
	}
	for ttl, want := range map[time.Duration]bool{0: false, 29 * time.Second: false, 30 * time.Second: true,
		time.Hour: true, time.Hour + 1: false} {
		if got, _ := a.Allow(Ask{Path: "w", Capability: Read, WrapTTL: ttl}); (got != nil) != want {
			t.Errorf("wrapped for %v: %v", ttl, got)
		}
	}
	if g, _ := a.Allow(Ask{Path: "b", Capability: Read}); g != nil {
		t.Error("deny of one policy did not win")
	}
}

func TestSudo(t *testing.T) {
	t.Parallel()
	a := compile(t, `path "x" { capabilities = ["update"] } path "y" { capabilities = ["update", "sudo"] }
		path "z" { capabilities = ["sudo"] }`)
	for path, want := range map[string]bool{"x": false, "y": true, "z": false} {
		if got, _ := a.Allow(Ask{Path: path, Capability: Update, Sudo: true}); (got != nil) != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestTemplatesMatchNothing(t *testing.T) {
	t.Parallel()
	a := compile(t, `path "identity/{{identity.entity.id}}/*" { capabilities = ["read"] }`)
	if len(a.exact) != 0 || a.find("identity/{{identity.entity.id}}/x", false) != nil {
		t.Error("a template matched")
	}
}

func TestExpiration(t *testing.T) {
	t.Parallel()
	p := parse(t, `path "a" { capabilities = ["read"] expiration = "2026-01-02T04:00:00Z" comment = "for now" }`)
	a := Compile(start, p)
	if a.Capabilities("a") != Read || !a.Until().Equal(time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)) {
		t.Errorf("%v until %v", a.Capabilities("a"), a.Until())
	}
	if after := Compile(a.Until(), p); after.Capabilities("a") != 0 || !after.Until().IsZero() {
		t.Error("an expired path still counts")
	}
}

func TestJSONSaysTheSame(t *testing.T) {
	t.Parallel()
	hcl := parse(t, `name = "x"
path "a/*" { capabilities = ["read", "list"] allowed_parameters = { "k" = ["v", 1, true, ["l"]] "*" = [] } }
path "b" { policy = "write" min_wrapping_ttl = "1m" }
path "c" { required_parameters = ["Q"] denied_parameters { "p" = [] } }`)
	for _, text := range []string{
		`{"name":"x","path":{"a/*":{"capabilities":["read","list"],"allowed_parameters":{"k":["v",1,true,["l"]],"*":[]}},
		  "b":{"policy":"write","min_wrapping_ttl":"1m"},"c":{"required_parameters":["Q"],"denied_parameters":{"p":[]}}}}`,
		`{"name":"x","path":[{"a/*":{"capabilities":["read","list"],"allowed_parameters":{"k":["v",1,true,["l"]],"*":[]}}},
		  {"b":{"policy":"write","min_wrapping_ttl":"1m"}},{"c":{"required_parameters":["Q"],"denied_parameters":{"p":[]}}}]}`,
	} {
		js := parse(t, text)
		slices.SortFunc(js.rules, func(a, b rule) int { return strings.Compare(a.pattern, b.pattern) })
		if fmt.Sprintf("%+v", flat(hcl)) != fmt.Sprintf("%+v", flat(js)) {
			t.Errorf("HCL gives\n%+v\nJSON\n%+v", flat(hcl), flat(js))
		}
	}
}

func flat(p *Policy) []string {
	var out []string
	for _, r := range p.rules {
		out = append(out, fmt.Sprintf("%s %+v", r.pattern, *r.grant))
	}
	return append(out, p.Name)
}

func TestRefusedDocuments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`path`:                                "",
		`pth "a" {}`:                          "invalid key",
		`path "a" { foo = 1 }`:                "invalid key",
		`path "a" = "b"`:                      "",
		`path "a/+*" {}`:                      "'+*' is forbidden",
		`path "a" { capabilities = "read" }`:  "must be a list of strings",
		`path "a" { capabilities = [1] }`:     "must be a list of strings",
		`path "a" { capabilities = ["fly"] }`: `invalid capability "fly"`,
		`path "a" { policy = "all" }`:         `invalid policy "all"`,
		`path "a" { min_wrapping_ttl = "x" }`: "must be a duration",
		`path "a" { min_wrapping_ttl = "2h" max_wrapping_ttl = 1 }`: "cannot be less than",
		`path "a" { allowed_parameters = ["a"] }`:                   "must be an object of lists",
		`path "a" { allowed_parameters = { "a" = "b" } }`:           "must be a list",
		`path "a" { expiration = "soon" }`:                          "must be a time",
		`path "a" { pagination_limit = "x" }`:                       "whole number",
		`path "a" { mfa_methods = ["x"] }`:                          "is not supported",
		`path = "a"`:                                                "block",
		`{"path":{"a":{"capabilities":null}}}`:                      "",
		"\xff":                                                      "not UTF-8",
		strings.Repeat("path \"a\" {", 40):                          "nested",
		strings.Repeat("#", MaxText+1):                              "bytes",
		`path "` + strings.Repeat("a", 2049) + `" {}`:               "bytes",
	} {
		_, err := Parse(text)
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v; want %q", text, err, want)
		}
	}
}

// reference finds a pattern as the rules say, by looking at all of them.
func reference(patterns map[string]string, path string, listing bool) (string, bool) {
	paths := []string{path}
	if listing && strings.HasSuffix(path, "/") {
		paths = append(paths, strings.TrimSuffix(path, "/"))
	}
	for _, p := range paths {
		if _, ok := patterns[p]; ok && !strings.HasSuffix(p, "*") && !slices.Contains(strings.Split(p, "/"), "+") {
			return p, true
		}
	}
	for _, p := range paths {
		var matching []string
		for pattern := range patterns {
			if wildMatch(pattern, p) {
				matching = append(matching, pattern)
			}
		}
		if len(matching) > 0 {
			return slices.MaxFunc(matching, func(a, b string) int {
				return newCandidate(a, nil).compare(newCandidate(b, nil))
			}), true
		}
	}
	return "", false
}

func wildMatch(pattern, path string) bool {
	text, glob := strings.CutSuffix(pattern, "*")
	want, have := strings.Split(text, "/"), strings.Split(path, "/")
	if !slices.Contains(want, "+") {
		return glob && strings.HasPrefix(path, text)
	}
	if len(want) > len(have) || !glob && len(want) != len(have) {
		return false
	}
	for i, w := range want {
		if w != "+" && w != have[i] && (!glob || i < len(want)-1 || !strings.HasPrefix(have[i], w)) {
			return false
		}
	}
	return true
}

// TestFindAgainstReference compares the trees with a plain walk through all patterns.
func TestFindAgainstReference(t *testing.T) {
	t.Parallel()
	segment := rapid.SampledFrom([]string{"a", "b", "ab", "abc", "+", "", "a+"})
	pathSegment := rapid.SampledFrom([]string{"a", "b", "ab", "abc", "abcd", "", "c"})
	rapid.Check(t, func(t *rapid.T) {
		patterns := map[string]string{}
		var rules []rule
		for range rapid.IntRange(1, 12).Draw(t, "patterns") {
			p := strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "segments"), "/")
			if rapid.Bool().Draw(t, "star") && !strings.HasSuffix(p, "+") {
				p += "*"
			}
			if _, ok := patterns[p]; !ok {
				patterns[p] = ""
				rules = append(rules, rule{pattern: p, grant: &Grant{required: []string{p}}})
			}
		}
		a := Compile(start, &Policy{rules: rules})
		path := strings.Join(rapid.SliceOfN(pathSegment, 1, 5).Draw(t, "path"), "/")
		listing := rapid.Bool().Draw(t, "listing")
		want, some := reference(patterns, path, listing)
		g := a.find(path, listing)
		if some != (g != nil) || some && g.required[0] != want {
			t.Fatalf("%q (listing %v) finds %+v, want %v %q of %q", path, listing, g, some, want,
				slices.Sorted(maps.Keys(patterns)))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`path "secret/*" { capabilities = ["read", "list"] }`,
		`path "a" { policy = "sudo" allowed_parameters = { "x" = ["*a", 1] } }`,
		`{"path":{"a":{"capabilities":["deny"],"required_parameters":["x"]}}}`, "path \"a\" { comment = <<EOT\nx\nEOT\n}",
		`path "a" "b" {}`,
		`{"path":[{"a":[{"policy":"read"}]}]}`, `path "+/+/a*" { min_wrapping_ttl = "1d" }`,
		`path "a" { expiration = "2026-01-02T04:00:00Z" }`,
		`path "a" { pagination_limit = 3
		 list_scan_response_keys_filter_path = "{{ .path | replace \"a\" \"b\" }}{{ .key }}" }`,
	} {
		f.Add(s, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%v is not an ErrSyntax", err)
			}
			return
		}
		a := Compile(start, p, p)
		c := a.Capabilities(path)
		if c&Deny != 0 && c != Deny {
			t.Errorf("deny is not alone: %v", c)
		}
		g, _ := a.Allow(Ask{Path: path, Capability: Read, Sudo: true})
		ok := g != nil
		if ok && (c&Read == 0 && !strings.HasSuffix(path, "/")) {
			t.Errorf("allowed to read by %v", c)
		}
		if g.Filters() {
			g.PathOf(path, "k")
		}
		a.Below("a/")
		a.Paths()
	})
}

// fifty is 50 policies of 200 rules each, of every kind.
func fifty(t testing.TB) *ACL {
	var all []*Policy
	for i := range 50 {
		var b strings.Builder
		for j := range 50 {
			fmt.Fprintf(&b, "path \"kv/team-%d/app-%d\" { capabilities = [\"read\"] }\n", i, j)
			fmt.Fprintf(&b, "path \"kv/team-%d/app-%d/*\" { capabilities = [\"read\", \"update\"] }\n", i, j)
			fmt.Fprintf(&b, "path \"kv/team-%d/+/config-%d\" { capabilities = [\"read\"] }\n", i, j)
			fmt.Fprintf(&b, "path \"kv/+/team-%d/shared-%d*\" { capabilities = [\"list\"] }\n", i, j)
		}
		all = append(all, parse(t, b.String()))
	}
	return Compile(start, all...)
}

func TestLookupsAllocateNothing(t *testing.T) {
	a := fifty(t)
	for _, path := range []string{"kv/team-7/app-9", "kv/team-7/app-9/a/b", "kv/team-7/x/config-3",
		"kv/any/team-3/shared-44x", "nowhere/at/all"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = a.Allow(Ask{Path: path, Capability: Read}) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	a := fifty(b)
	for name, path := range map[string]string{"exact": "kv/team-31/app-17", "prefix": "kv/team-31/app-17/db/password",
		"plus":          "kv/team-31/x/config-3",
		"plus and star": "kv/any/team-31/shared-44x", "nothing": "nowhere/at/all/of/it"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.Allow(Ask{Path: path, Capability: Read})
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		fifty(b)
	}
}

// TestFieldsByAnySpelling: a denied field is denied by every name under which encoding/json finds
// it.
func TestFieldsByAnySpelling(t *testing.T) {
	t.Parallel()
	p, err := Parse(`path "a" { capabilities = ["update"] denied_parameters = { "secret_shares" = [] "key" = [] } }`)
	if err != nil {
		t.Fatal(err)
	}
	acl := Compile(time.Now(), p)
	for _, name := range []string{"secret_shares", "SECRET_SHARES", "\u017fecret_\u017fhares", "secret_share\u017f",
		"\u212aey", "\u212aEY"} {
		var into struct {
			Shares int `json:"secret_shares"`
			Key    int `json:"key"`
		}
		if err := json.Unmarshal([]byte(`{"`+name+`":1}`), &into); err != nil || into.Shares+into.Key != 1 {
			t.Errorf("%q is no name for encoding/json: %v", name, err)
		}
		g, err := acl.Allow(Ask{Path: "a", Capability: Update, Parameters: given{name: json.Number("1")}})
		if err != nil || g != nil {
			t.Errorf("%q is allowed: %v", name, err)
		}
	}
}

type given map[string]any

func (g given) Fields() (map[string]any, error) { return g, nil }
