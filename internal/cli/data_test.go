package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestData(t *testing.T) {
	const app = `{"request_id":"r","lease_id":"","renewable":false,"lease_duration":2764800,"data":{"a":"b","big":12345678901234567890,"list":[1,"x"],"none":null,"map":{"k":"v"},"ttl":3600,"empty":"","html":"<&>"},"wrap_info":null,"warnings":["a warning"],"auth":null}`
	const wrapped = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"s.EXAMPLE","accessor":"ACC","ttl":60,"creation_time":"2026-01-02T03:04:05.9Z","creation_path":"secret/app","wrapped_accessor":"OTHER"}}`
	get := map[string][]answer{"GET secret/app": {ok(app)}}
	none := map[string][]answer{"GET secret/app": {{404, `{"errors":[]}`}}}
	put := func(a answer) map[string][]answer { return map[string][]answer{"PUT secret/app": {a}} }
	mounts := map[string][]answer{
		"GET sys/mounts": {ok(
			`{"data":{"secret/":{"type":"kv","description":"","accessor":"kv_1","uuid":"u","config":{"default_lease_ttl":0,"max_lease_ttl":3600,"force_no_cache":false},"options":{"version":"1"},"running_plugin_version":"v1"},"cubbyhole/":{"type":"cubbyhole","description":"per-token","accessor":"cub","uuid":"w","local":true,"config":{},"options":null}}}`)}}
	runAll(t, []run{
		{name: "read", args: []string{"read", "/secret/app/", "version=2"}, answers: get},
		{name: "read-json", args: []string{"read", "-format=json", "secret/app"}, answers: get},
		{name: "read-yaml", args: []string{"read", "-format=yaml", "secret/app"}, answers: get},
		{name: "read-raw", args: []string{"read", "-format=raw", "secret/app"}, answers: get},
		{name: "read-field", args: []string{"read", "-field=a", "secret/app"}, answers: get},
		{name: "read-field-json", args: []string{"read", "-field=map", "-format=json", "secret/app"}, answers: get},
		{name: "read-field-map", args: []string{"read", "-field=map", "secret/app"}, answers: get},
		{name: "read-field-missing", args: []string{"read", "-field=zz", "secret/app"}, want: 1, answers: get},
		{name: "read-nothing", args: []string{"read", "secret/app"}, want: 2, answers: none},
		{name: "read-wrapped", args: []string{"read", "-wrap-ttl=60s", "secret/app"},
			answers: map[string][]answer{"GET secret/app": {ok(wrapped)}}},
		{name: "read-sealed", args: []string{"read", "secret/app"}, want: 2,
			env:     map[string]string{"SEALGATE_MAX_RETRIES": "2"},
			answers: map[string][]answer{"GET secret/app": {refusal(503, "Vault is sealed")}}},
		{name: "read-not-json", args: []string{"read", "secret/app"}, want: 2,
			answers: map[string][]answer{"GET secret/app": {{500, "<html>"}}}},
		{name: "read-no-path", args: []string{"read"}, want: 1},
		{name: "write", args: []string{"write", "secret/app", "a=b", "c=d=e", "a=f", "at=\\@x"},
			answers: put(answer{204, ""})},
		{name: "write-file", args: []string{"write", "secret/app", "a=@HOME/f", "@HOME/j"},
			files: map[string]string{"f": "text\n", "j": `{"n":12345678901234567890,"t":true}`}, answers: put(answer{204, ""})},
		{name: "write-stdin", args: []string{"write", "secret/app", "a=-"}, stdin: "hunter2", secret: "hunter2",
			answers: put(answer{204, ""})},
		{name: "write-json", args: []string{"write", "-format=json", "secret/app", "-"}, stdin: `{"x":{"y":1}}`,
			answers: put(ok(app))},
		{name: "write-force", args: []string{"write", "-f", "secret/app"}, answers: put(answer{204, ""})},
		{name: "write-no-data", args: []string{"write", "secret/app"}, want: 1},
		{name: "write-not-pairs", args: []string{"write", "secret/app", "hunter2"}, want: 1, secret: "hunter2"},
		{name: "write-denied", args: []string{"write", "secret/app", "a=b"}, want: 2,
			answers: put(refusal(403, "permission denied"))},
		{name: "list", args: []string{"list", "secret"},
			answers: map[string][]answer{"GET secret": {ok(`{"data":{"keys":["a","b/"]}}`)}}},
		{name: "list-json", args: []string{"list", "-format=json", "secret/"},
			answers: map[string][]answer{"GET secret": {ok(`{"data":{"keys":["a","b/"]}}`)}}},
		{name: "list-detailed", args: []string{"list", "-detailed", "-limit=2", "-after=0", "secret/"},
			answers: map[string][]answer{"GET secret": {ok(`{"data":{"keys":["a","b"],"key_info":{"a":{"x":1}}}}`)}}},
		{name: "list-nothing", args: []string{"list", "secret"}, want: 2,
			answers: map[string][]answer{"GET secret": {{404, `{"errors":[]}`}}}},
		{name: "delete", args: []string{"delete", "secret/app"},
			answers: map[string][]answer{"DELETE secret/app": {{204, ""}}}},
		{name: "secrets-list", args: []string{"secrets", "list"}, answers: mounts},
		{name: "secrets-list-detailed", args: []string{"secrets", "list", "-detailed"}, answers: mounts},
		{name: "secrets-enable", args: []string{"secrets", "enable", "-path=kv1", "-version=1", "-description=d", "kv"},
			answers: map[string][]answer{"POST sys/mounts/kv1": {{204, ""}}}},
		{name: "secrets-enable-taken", args: []string{"secrets", "enable", "kv"}, want: 2,
			answers: map[string][]answer{"POST sys/mounts/kv": {refusal(400, "path is already in use at kv/")}}},
		{name: "secrets-disable", args: []string{"secrets", "disable", "kv1/"},
			answers: map[string][]answer{"DELETE sys/mounts/kv1": {{204, ""}}}},
	})
}

func TestLogin(t *testing.T) {
	lookup := map[string][]answer{
		"GET auth/token/lookup-self": {
			ok(`{"data":{"id":"s.new","accessor":"ACC","policies":["root"],"ttl":0,"renewable":false}}`)}}
	runAll(t, []run{
		{name: "login", args: []string{"login", "s.new"}, answers: lookup},
		{name: "login-prompt", args: []string{"login", "-no-print"}, typed: []string{"s.new"}, secret: "s.new",
			answers: lookup},
		{name: "login-stdin", args: []string{"login", "-token-only", "-"}, stdin: "s.new\n", answers: lookup},
		{name: "login-denied", args: []string{"login", "s.bad"}, want: 2,
			answers: map[string][]answer{"GET auth/token/lookup-self": {refusal(403, "permission denied")}}},
		{name: "login-no-terminal", args: []string{"login"}, want: 1},
		{name: "login-pointless", args: []string{"login", "-no-store", "-no-print", "s.new"}, want: 1},
		{name: "login-method", args: []string{"login", "-method=userpass"}, want: 1},
	})
}

func TestTokenFileIsPrivate(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	b := newBase(Env{Home: home, Stdout: io.Discard, Stderr: io.Discard})
	for _, token := range []string{"s.one", "s.two"} {
		if err := storeToken(b, token); err != nil {
			t.Fatal(err)
		}
		got, err := b.token()
		if err != nil || got != token {
			t.Errorf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(filepath.Join(home, ".vault-token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".vault-token-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHiddenLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abc\r": "abc", "abc\nd": "abc", "ab\x7f\x7f\x7fc\r": "c", "abc\x15d\r": "d", "abc\x04": "abc", "\x01a\tb\r": "ab",
		"é\r": "é",
	} {
		if got, err := hiddenLine(strings.NewReader(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]error{"\x04": io.EOF, "": io.EOF, "ab\x03": errInterrupted,
		strings.Repeat("a", maxLine+1): errLongLine} {
		if got, err := hiddenLine(strings.NewReader(in)); !errors.Is(err, want) || len(got) > 0 {
			t.Errorf("%.9q: %q, %v", in, got, err)
		}
	}
}

func TestHuman(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0s", 5: "5s", 60: "1m", 3600: "1h", 3660: "1h1m", 2764800: "768h",
		3605: "1h0m5s", 1 << 62: "4611686018427387904s"} {
		if got := human(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for name, factory := range commands(Env{}) {
		c := factory()
		_, holdsOthers := c.(group)
		help := c.Help()
		if !strings.HasPrefix(help, "Usage: sealgate "+name) || c.Synopsis() == "" || !holdsOthers &&
			!strings.Contains(help, "-tls-skip-verify") {
			t.Errorf("%s:\n%s", name, help)
		}
	}
}
