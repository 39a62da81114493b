package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestEmptyFlags checks that a flag whose variable was empty in a script is refused before any
// request. The code before dropped it: as root, `token create -policy=""` made a root token.
func TestEmptyFlags(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a request was sent: %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	lists := map[string]bool{"-policy": true, "-pgp-keys": true, "-recovery-pgp-keys": true, "-holders": true,
		"-versions": true}
	for _, line := range []string{
		"token create -policy=EMPTY", "token create -role=EMPTY", "token create -id=EMPTY", "token create -type=EMPTY",
		"token revoke -mode=EMPTY s.x",
		"operator init -pgp-keys=EMPTY", "operator init -recovery-pgp-keys=EMPTY", "operator init -root-token-pgp-key=EMPTY",
		"operator init -holders=EMPTY",
		"operator rekey -init -pgp-keys=EMPTY", "operator rekey -init -holders=EMPTY", "operator rekey -target=EMPTY",
		"operator rekey -cancel -nonce=EMPTY", "operator rotate-keys -init -pgp-keys=EMPTY",
		"operator generate-root -init -pgp-key=EMPTY", "operator generate-root -init -otp=EMPTY",
		"operator generate-root -cancel -nonce=EMPTY", "operator authorize -purpose=EMPTY -init",
		"operator authorize -purpose=raw -cancel -nonce=EMPTY",
		"kv delete -versions=EMPTY secret/a", "kv get -mount=EMPTY secret/a",
		"transcript verify -public-key=EMPTY t.json", "transcript verify -head=EMPTY t.json",
		"operator transcript signer -managed-key=EMPTY",
	} {
		for _, blank := range []string{"", " ", ",", " , "} {
			words := strings.Fields(line)
			flag := ""
			for i, word := range words {
				if name, ok := strings.CutSuffix(word, "=EMPTY"); ok {
					flag, words[i] = name, name+"="+blank
				}
			}
			if strings.Contains(blank, ",") && !lists[flag] {
				continue // a comma is a value, though no sensible one
			}
			var errs strings.Builder
			code := Run(words, Env{Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &errs,
				Getenv: func(name string) string { return map[string]string{"VAULT_ADDR": srv.URL}[name] }})
			if code != 1 || !strings.Contains(errs.String(), flag+" is empty") {
				t.Errorf("%q: exit %d: %s", words, code, errs.String())
			}
		}
	}
}

// TestSpacesBelongToNames checks that commands change no other entry than the one that was named.
// The code before cut spaces, so that `kv metadata delete 'secret/dup '` deleted "dup".
func TestSpacesBelongToNames(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/") {
			_, _ = w.Write([]byte(`{"data":{"path":"secret/","options":{"version":"2"}}}`))
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.URL.Path)
		_, _ = w.Write([]byte(`{"data":{"data":{"a":"b"},"metadata":{"version":1},"keys":["x"],"policy":"p"}}`))
	}))
	defer srv.Close()
	for _, c := range []struct{ line, want string }{ // | separates arguments, _ stands for a no-break space
		{"kv|get|secret/dup ", "GET /v1/secret/data/dup "},
		{"kv|get|secret/dup_", "GET /v1/secret/data/dup\u00a0"},
		{"kv|get|-mount=secret| dup ", "GET /v1/secret/data/ dup "},
		{"kv|put|secret/dup |a=b", "PUT /v1/secret/data/dup "},
		{"kv|delete|/secret/dup /", "DELETE /v1/secret/data/dup "},
		{"kv|destroy|-versions=1|secret/dup ", "PUT /v1/secret/destroy/dup "},
		{"kv|metadata|delete|secret/dup ", "DELETE /v1/secret/metadata/dup "},
		{"kv|metadata|get|secret/ dup", "GET /v1/secret/metadata/ dup"},
		{"kv|list|secret/t1 /", "LIST /v1/secret/metadata/t1 "},
		{"read|kv1/dup ", "GET /v1/kv1/dup "},
		{"write|kv1/dup |a=b", "PUT /v1/kv1/dup "},
		{"delete|kv1/dup ", "DELETE /v1/kv1/dup "},
		{"list|kv1/t1 /", "LIST /v1/kv1/t1 "},
		{"scan|kv1/t1 /", "GET /v1/kv1/t1 "},
		{"secrets|disable|kv1 /", "DELETE /v1/sys/mounts/kv1 "},
		{"secrets|enable|-path= kv|kv", "POST /v1/sys/mounts/ kv"},
		{"auth|disable|up ", "DELETE /v1/sys/auth/up "},
		{"audit|disable|file ", "DELETE /v1/sys/audit/file "},
		{"policy|delete|dev ", "DELETE /v1/sys/policies/acl/dev "},
		{"lease|renew|a/b ", "PUT /v1/sys/leases/renew"},
	} {
		got = nil
		args := strings.Split(strings.ReplaceAll(c.line, "_", "\u00a0"), "|")
		var errs strings.Builder
		Run(args, Env{Stdin: strings.NewReader(""), Stdout: &strings.Builder{}, Stderr: &errs,
			Getenv: func(name string) string { return map[string]string{"VAULT_ADDR": srv.URL}[name] }})
		if len(got) == 0 {
			t.Errorf("%q sent nothing: %s", args, errs.String())
		} else if strings.Replace(got[0], "GET", "LIST", 1) != c.want && got[0] != c.want {
			t.Errorf("%q sent %q, want %q", args, got[0], c.want)
		}
	}
}

// TestVersionProvenance reads the build's provenance as JSON. FORMAT of the environment keeps the
// line that scripts parse.
func TestVersionProvenance(t *testing.T) {
	t.Parallel()
	run := func(args ...string) string {
		var out strings.Builder
		if code := Run(args, Env{Stdout: &out, Stderr: &out, Version: "1.2.3",
			Getenv: func(name string) string { return map[string]string{"VAULT_FORMAT": "json"}[name] }}); code != 0 {
			t.Fatalf("%q: exit %d: %s", args, code, out.String())
		}
		return out.String()
	}
	var build struct {
		Version, Go string
		FIPS        struct{ Module string }
		Modules     []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(run("version", "-format=json")), &build); err != nil {
		t.Fatal(err)
	}
	if build.Version != "1.2.3" || !strings.HasPrefix(build.Go, "go1.") || build.FIPS.Module == "" ||
		build.Modules == nil {
		t.Errorf("%+v", build)
	}
	if got := run("version"); got != "Sealgate v1.2.3\n" {
		t.Errorf("%q", got)
	}
}
