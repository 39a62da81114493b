package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a server with canned data; anything else is not found. It records what is written.
type scripted struct {
	mu     sync.Mutex
	data   map[string]string // by "METHOD path"
	err    map[string]error
	writes []string
}

func (s *scripted) Call(_ context.Context, method, path string, _ url.Values, in any) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.err[method+" "+path]; err != nil {
		return nil, err
	}
	if method == http.MethodPost || method == http.MethodDelete {
		body, err := json.Marshal(in)
		s.writes = append(s.writes, method+" "+path+" "+string(body))
		return nil, err
	}
	if text, ok := s.data[method+" "+path]; ok {
		return json.RawMessage(text), nil
	}
	return nil, &Refusal{Code: http.StatusNotFound}
}

func newScripted(cluster string, data map[string]string) *scripted {
	s := &scripted{data: map[string]string{"GET auth/token/lookup-self": `{}`,
		"GET sys/seal-status": `{"cluster_id":"` + cluster + `"}`}, err: map[string]error{}}
	for k, v := range data {
		s.data[k] = v
	}
	return s
}

func importFrom(t *testing.T, from, to *scripted) (*Report, error) {
	t.Helper()
	r := &Report{}
	err := Run(t.Context(), Options{Source: from, Destination: to, Report: r, Gap: 10, Workers: 3,
		Rand: bytes.NewReader(bytes.Repeat([]byte{7}, 1024)),
		Now:  func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }})
	return r, err
}

// TestHostileNames: a source cannot make the import write to a path of its choice.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	bad := []string{"../../sys/policies/acl/x", "..", ".", "a/../b", "a//b", "/a", "", "x\x1b[2J", "a\nb",
		strings.Repeat("x", maxPath+1)}
	raw, err := json.Marshal(bad)
	if err != nil {
		t.Fatal(err)
	}
	names := `{"keys":` + string(raw) + `}`
	source := map[string]string{
		"LIST sys/policies/acl": names, "LIST sys/policies/password": names, "LIST auth/token/roles": names,
		"LIST plain": names, "LIST v2/metadata": names, "LIST transit/keys": names, "LIST auth/a/role": names,
		"LIST auth/u/users": names,
		"GET sys/auth":      `{"a/":{"type":"approle"},"u/":{"type":"userpass"},"../x/":{"type":"approle"}}`,
		"GET sys/mounts": `{"plain/":{"type":"kv"},"v2/":{"type":"kv","options":{"version":"2"}},
			"transit/":{"type":"transit"},"../sys/raw/":{"type":"kv"},"strange/":{"type":"\u001b[2Jx"}}`,
	}
	for _, name := range bad { // each would be brought if its name were believed
		for _, at := range []string{"sys/policies/acl/", "sys/policies/password/", "auth/token/roles/", "plain/",
			"transit/keys/", "auth/a/role/", "auth/u/users/"} {
			source["GET "+at+name] = `{"policy":"path \"*\" { capabilities = [\"sudo\"] }","exportable":true}`
		}
		source["GET v2/metadata/"+name] = `{"current_version":1,"versions":{"1":{}}}`
	}
	from, to := newScripted("one", source), newScripted("two", nil)
	report, err := importFrom(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range to.writes {
		path := strings.Fields(w)[1]
		if path != "sys/mounts/plain" && path != "sys/mounts/v2" && path != "sys/mounts/transit" && path != "sys/auth/a" &&
			path != "sys/auth/u" {
			t.Errorf("written: %s", w)
		}
	}
	if len(to.writes) != 5 || len(from.writes) != 0 {
		t.Errorf("%d and %d writes", len(to.writes), len(from.writes))
	}
	if n := report.Counts["secret"][Left]; n != 2*len(bad) {
		t.Errorf("%d secrets were left", n)
	}
	if text := report.Text(); strings.Contains(text, "\x1b") {
		t.Error("the report has control characters")
	}
}

// TestEndlessFolders: a source whose folders have no end does not keep the import forever.
func TestEndlessFolders(t *testing.T) {
	t.Parallel()
	from := newScripted("one", map[string]string{"GET sys/mounts": `{"plain/":{"type":"kv"}}`})
	to := newScripted("two", nil)
	path := "plain"
	for range 2 * maxDepth {
		from.data["LIST "+strings.TrimSuffix(path, "/")] = `{"keys":["x/"]}`
		from.data["LIST "+path+"/"] = `{"keys":["x/"]}`
		path = strings.TrimSuffix(path, "/") + "/x"
		from.data["LIST "+path+"/"] = `{"keys":["x/"]}`
	}
	report, err := importFrom(t, from, to)
	if err != nil || report.Counts["secret"][Left] != 1 {
		t.Errorf("%v: %+v", err, report.Items)
	}
}

// TestServerLost: an error of one request is an item; a server that is gone, or a token that has
// ended, ends the run.
func TestServerLost(t *testing.T) {
	t.Parallel()
	denied := &Refusal{Code: http.StatusForbidden, Texts: []string{"permission\x07 denied"}}
	for _, c := range []struct {
		name  string
		err   error
		token error
		ends  string
	}{
		{"refused", denied, nil, ""},
		{"internal error", &Refusal{Code: 500, Texts: []string{"broken"}}, nil, ""},
		{"token revoked", denied, denied, "the token is no longer valid"},
		{"sealed", &Refusal{Code: 503, Texts: []string{"Vault is sealed"}}, nil, "Vault is sealed"},
		{"gone", errors.New("connection refused"), nil, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, to := newScripted("one", map[string]string{"GET sys/mounts": `{"plain/":{"type":"kv"}}`,
				"LIST plain": `{"keys":["a","b"]}`, "GET plain/b": `{"v":"secret"}`}), newScripted("two", nil)
			from.err["GET plain/a"] = c.err
			lookups := 0
			report := &Report{}
			err := Run(t.Context(), Options{Source: from, Destination: counting{to, &lookups, c.token}, Report: report,
				Workers: 1, Now: time.Now})
			if c.ends == "" {
				if err != nil || report.Counts["secret"][Failed] != 1 || report.Counts["secret"][Created] != 1 {
					t.Errorf("%v: %+v", err, report.Items)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.ends) || report.Complete || report.Error == "" {
				t.Errorf("%v: %+v", err, report)
			}
		})
	}
}

// counting fails the lookup of the token from the second on.
type counting struct {
	*scripted
	lookups *int
	err     error
}

func (c counting) Call(ctx context.Context, method, path string, q url.Values, in any) (json.RawMessage, error) {
	if path == "auth/token/lookup-self" {
		if *c.lookups++; *c.lookups > 1 && c.err != nil {
			return nil, c.err
		}
	}
	return c.scripted.Call(ctx, method, path, q, in)
}

// TestVersionsAreBounded: a secret whose numbers would need too many empty versions is left.
func TestVersionsAreBounded(t *testing.T) {
	t.Parallel()
	from, to := newScripted("one", map[string]string{
		"GET sys/mounts":       `{"v2/":{"type":"kv","options":{"version":"2"}}}`,
		"LIST v2/metadata":     `{"keys":["a"]}`,
		"GET v2/metadata/a":    `{"current_version":2000000000,"versions":{"2000000000":{}}}`,
		"GET v2/config":        `{}`,
		"GET v2/data/a":        `{"data":{"v":"1"}}`,
		"GET auth/token/roles": `{}`,
	}), newScripted("two", nil)
	report, err := importFrom(t, from, to)
	if err != nil || report.Counts["secret"][Left] != 1 || !strings.Contains(report.Text(), "-gap allows 10") {
		t.Errorf("%v: %s", err, report.Text())
	}
}

// TestWriterMeanwhile: a secret that changes at the destination during its import is not taken
// over: the marker and the numbers show it.
func TestWriterMeanwhile(t *testing.T) {
	t.Parallel()
	from, to := newScripted("one", map[string]string{
		"GET sys/mounts":    `{"v2/":{"type":"kv","options":{"version":"2"}}}`,
		"LIST v2/metadata":  `{"keys":["a"]}`,
		"GET v2/metadata/a": `{"current_version":2,"versions":{"1":{},"2":{}}}`,
		"GET v2/data/a":     `{"data":{"v":"1"}}`,
	}), newScripted("two", map[string]string{
		"GET v2/metadata/a": `{"current_version":3,"versions":{"1":{},"2":{},"3":{}},` +
			`"custom_metadata":{"sealgate-import":"x"}}`,
	})
	report, err := importFrom(t, from, to)
	if err != nil || report.Counts["secret"][Differs] != 1 {
		t.Errorf("%v: %+v", err, report.Items)
	}
	for _, w := range to.writes {
		if strings.Contains(w, " v2/") {
			t.Errorf("written: %s", w)
		}
	}
}

func TestRulesOfPolicies(t *testing.T) {
	t.Parallel()
	const one = "# words\npath \"b\" {\n  capabilities = [\"read\"]\n}\n\npath \"a\" { capabilities=[\"update\"] }"
	for other, want := range map[string]bool{
		one: true,
		"// others\npath \"a\" {\n  capabilities = [ \"update\" ]\n}\npath \"b\" { capabilities = [\"read\"] }": true,
		"path \"a\" { capabilities = [\"update\"] }":                                                            false,
		one + "\npath \"c\" { capabilities = [\"deny\"] }":                                                      false,
		strings.Replace(one, `"read"`, `"sudo"`, 1):                                                             false,
	} {
		if sameRules(one, other) != want {
			t.Errorf("%q: want %v", other, want)
		}
	}
}
