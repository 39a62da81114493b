package cli

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	tokenAnswer   = `{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"s.CREATED","accessor":"ACC","policies":["default","p1"],"token_policies":["default","p1"],"metadata":{"username":"alice"},"lease_duration":3600,"renewable":true,"entity_id":"","token_type":"service","orphan":false,"mfa_requirement":null,"num_uses":0}}`
	wrappedAnswer = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"s.WRAPPING","accessor":"WACC","ttl":60,"creation_time":"2026-01-02T03:04:05.9Z","creation_path":"auth/userpass/login/alice","wrapped_accessor":"ACC"},"warnings":null,"auth":null}`
)

func TestLoginMethods(t *testing.T) {
	at := func(path string) map[string][]answer { return map[string][]answer{"PUT " + path: {ok(tokenAnswer)}} }
	userpass := at("auth/userpass/login/alice")
	wrapped := map[string][]answer{"PUT auth/userpass/login/alice": {ok(wrappedAnswer)},
		"PUT sys/wrapping/unwrap": {ok(tokenAnswer)}}
	login := func(more ...string) []string {
		return append([]string{"login", "-method=userpass", "username=alice"}, more...)
	}
	unset := map[string]string{"BAO_TOKEN": ""}
	runAll(t, []run{
		{name: "login-userpass", args: login(), typed: []string{"hunter2"}, env: unset, answers: userpass},
		{name: "login-userpass-stdin", args: login("password=-", "-format=json"), stdin: "hunter2\n", answers: userpass},
		{name: "login-userpass-file", args: login("password=@HOME/p", "-token-only"),
			files: map[string]string{"p": "hunter2\r\n"}, answers: userpass},
		{name: "login-userpass-path", args: login("-path=people/", "password=a", "-no-store", "-field=token_accessor"),
			answers: at("auth/people/login/alice")},
		{name: "login-userpass-mount", args: login("mount=people", "password=a", "-no-print"), env: unset,
			answers: at("auth/people/login/alice")},
		{name: "login-userpass-no-terminal", args: login(), want: 1},
		{name: "login-userpass-twice", args: login("username=bob"), want: 1},
		{name: "login-userpass-other-path", args: []string{"login", "-method=userpass", "username=../x", "password=a"},
			want: 1},
		{name: "login-userpass-denied", args: login("password=hunter2"), want: 2,
			answers: map[string][]answer{"PUT auth/userpass/login/alice": {refusal(400, "invalid username or password")}}},
		{name: "login-wrapped", args: login("-wrap-ttl=60", "password=a"), env: unset, answers: wrapped},
		{name: "login-wrapped-no-store", args: login("-wrap-ttl=60", "-no-store", "password=a"), answers: wrapped},
		{name: "login-wrapped-token-only", args: login("-wrap-ttl=60", "-token-only", "password=a"), answers: wrapped},
		{name: "login-approle", args: []string{"login", "-method=approle", "role_id=r", "secret_id=-"}, stdin: "s3\n",
			env: unset, answers: at("auth/approle/login")},
		{name: "login-approle-no-secret-id", args: []string{"login", "-method=approle", "-", "-token-only"},
			stdin: `{"role_id":"r"}`, answers: at("auth/approle/login")},
		{name: "login-approle-no-role", args: []string{"login", "-method=approle"}, want: 1},
		{name: "login-cert", args: []string{"login", "-method=cert", "name=web", "-token-only"},
			answers: at("auth/cert/login")},
		{name: "login-jwt", args: []string{"login", "-method=jwt", "role=ci", "jwt=@HOME/j", "-token-only"},
			files: map[string]string{"j": "eyJ.a.b\n"}, answers: at("auth/jwt/login")},
		{name: "login-jwt-prompt", args: []string{"login", "-method=jwt", "-token-only"}, typed: []string{"eyJ.a.b"},
			answers: at("auth/jwt/login")},
		{name: "login-unknown", args: []string{"login", "-method=kerberos"}, want: 1},
		{name: "login-unchecked", args: []string{"login", "token=s.x", "lookup=false"}, env: unset},
		{name: "login-no-token-in-answer", args: login("password=a"), want: 2,
			answers: map[string][]answer{"PUT auth/userpass/login/alice": {ok(`{"data":{"a":1}}`)}}},
		{name: "login-not-stored", args: login("password=a"), want: 1,
			env: map[string]string{"SEALGATE_TOKEN_PATH": "HOME/none/t"}, answers: userpass},
		{name: "login-curl", args: login("password=a", "-output-curl-string")},
	})
}

func TestLoginKeepsWhatItWasGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t")
	run{name: "login-approle-kept", args: []string{"login", "-method=approle", "role_id=r", "-no-print"},
		env:     map[string]string{"BAO_TOKEN": "", "SEALGATE_TOKEN_PATH": file},
		answers: map[string][]answer{"PUT auth/approle/login": {ok(tokenAnswer)}}}.exec(t)
	if got, err := os.ReadFile(file); err != nil || string(got) != "s.CREATED" {
		t.Errorf("%q, %v", got, err)
	}
}
