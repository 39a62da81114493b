package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPolicy(t *testing.T) {
	const rules = "path \"secret/*\" {\n  capabilities = [\"read\"]\n}\n"
	names := map[string][]answer{"GET sys/policies/acl": {ok(`{"data":{"keys":["default","zeta","root"]}}`)}}
	one := map[string][]answer{
		"GET sys/policies/acl/app": {ok(`{"data":{"name":"app","policy":"\npath \"a\" {}\n","version":1}}`)}}
	puts := func(a answer) map[string][]answer { return map[string][]answer{"PUT sys/policies/acl/app": {a}} }
	runAll(t, []run{
		{name: "policy-list", args: []string{"policy", "list"}, answers: names},
		{name: "policy-list-json", args: []string{"policy", "list", "-format=json"}, answers: names},
		{name: "policy-list-denied", args: []string{"policy", "list"}, want: 2,
			answers: map[string][]answer{"GET sys/policies/acl": {refusal(403, "permission denied")}}},
		{name: "policy-read", args: []string{"policy", "read", "APP"}, answers: one},
		{name: "policy-read-yaml", args: []string{"policy", "read", "app", "-format=yaml"}, answers: one},
		{name: "policy-read-root", args: []string{"policy", "read", "root"},
			answers: map[string][]answer{"GET sys/policies/acl/root": {ok(`{"data":{"name":"root","policy":""}}`)}}},
		{name: "policy-read-none", args: []string{"policy", "read", "app"}, want: 2,
			answers: map[string][]answer{"GET sys/policies/acl/app": {{404, `{"errors":[]}`}}}},
		{name: "policy-write", args: []string{"policy", "write", "app", "HOME/p.hcl"},
			files: map[string]string{"p.hcl": rules}, answers: puts(answer{204, ""})},
		{name: "policy-write-stdin-upper", args: []string{"policy", "write", "App", "-"}, stdin: rules,
			answers: puts(answer{204, ""})},
		{name: "policy-write-warned", args: []string{"policy", "write", "app", "-"}, stdin: rules,
			answers: puts(ok(`{"data":null,"warnings":["the policy expires soon"]}`))},
		{name: "policy-write-no-file", args: []string{"policy", "write", "app", "HOME/none"}, want: 1},
		{name: "policy-write-wrong", args: []string{"policy", "write", "app", "-"}, stdin: "path", want: 2,
			answers: puts(refusal(400, "failed to parse policy: ..."))},
		{name: "policy-write-one-argument", args: []string{"policy", "write", "app"}, want: 1},
		{name: "policy-write-elsewhere", args: []string{"policy", "write", "..", "-"}, want: 1},
		{name: "policy-delete", args: []string{"policy", "delete", "app"},
			answers: map[string][]answer{"DELETE sys/policies/acl/app": {{204, ""}}}},
		{name: "policy-delete-default", args: []string{"policy", "delete", "default"}, want: 2,
			answers: map[string][]answer{"DELETE sys/policies/acl/default": {refusal(400, "cannot delete default policy")}}},
		{name: "policy-fmt-stdin", args: []string{"policy", "fmt", "-"},
			stdin: "path  \"a/*\" { capabilities=[\"read\",\"list\"]\nmin_wrapping_ttl = \"1s\" }"},
		{name: "policy-fmt-file", args: []string{"policy", "fmt", "HOME/p.hcl"}, files: map[string]string{"p.hcl": rules}},
		{name: "policy-fmt-wrong", args: []string{"policy", "fmt", "HOME/p.hcl"}, want: 1,
			files: map[string]string{"p.hcl": "path \"a\" {"}},
		{name: "policy-fmt-not-a-policy", args: []string{"policy", "fmt", "-"}, stdin: "path \"a\" {\n  capabilities = " +
			"[\"fly\"]\n}\n", want: 1},
		{name: "policy-fmt-no-file", args: []string{"policy", "fmt", "HOME/none"}, want: 1},
	})
}

func TestPolicyFmtWritesInPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "p.hcl")
	if err := os.WriteFile(file, []byte(`path "a" { capabilities=["read"] }`), 0o640); err != nil {
		t.Fatal(err)
	}
	link := file + ".link"
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more changes nothing
		if code := Run([]string{"policy", "fmt", link}, Env{Stdout: unread{}, Stderr: os.Stderr}); code != exitOK {
			t.Fatalf("exit code %d", code)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != "path \"a\" {\n  capabilities = [\"read\"]\n}\n" {
			t.Errorf("%q, %v", got, err)
		}
		if info, err := os.Lstat(file); err != nil || info.Mode() != 0o640 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestAudit(t *testing.T) {
	get := func(body string) map[string][]answer { return map[string][]answer{"GET sys/audit": {ok(body)}} }
	two := get(`{"data":{"syslog/":{"path":"syslog/","type":"syslog","description":"","options":null,"local":true},"file/":{"path":"file/","type":"file","description":"all","options":{"mode":"0600","file_path":"/var/log/a.log"},"local":false}}}`)
	runAll(t, []run{
		{name: "audit-list", args: []string{"audit", "list"}, answers: two},
		{name: "audit-list-detailed", args: []string{"audit", "list"}, env: map[string]string{"VAULT_DETAILED": "true"},
			answers: two},
		{name: "audit-list-json", args: []string{"audit", "list", "-format=json"}, answers: two},
		{name: "audit-list-none", args: []string{"audit", "list"}, want: 2, answers: get(`{"data":{}}`)},
		{name: "audit-list-denied", args: []string{"audit", "list"}, want: 2,
			answers: map[string][]answer{"GET sys/audit": {refusal(403, "permission denied")}}},
		{name: "audit-enable", args: []string{"audit", "enable", "file", "file_path=/var/log/a.log", "mode=0600"},
			answers: map[string][]answer{"PUT sys/audit/file": {{204, ""}}}},
		{name: "audit-enable-path", args: []string{"audit", "enable", "-path=near/", "-description=d", "-local", "socket",
			"-"}, stdin: `{"address":"127.0.0.1:9","port":9}`, answers: map[string][]answer{"PUT sys/audit/near": {{204, ""}}}},
		{name: "audit-enable-refused", args: []string{"audit", "enable", "file"}, want: 2,
			answers: map[string][]answer{"PUT sys/audit/file": {refusal(400, "file_path is required")}}},
		{name: "audit-enable-nothing", args: []string{"audit", "enable"}, want: 1},
		{name: "audit-enable-twice", args: []string{"audit", "enable", "file", "a=b", "a=c"}, want: 1},
		{name: "audit-disable", args: []string{"audit", "disable", "/file/"},
			answers: map[string][]answer{"DELETE sys/audit/file": {{204, ""}}}},
		{name: "audit-disable-nothing", args: []string{"audit", "disable", "/"}, want: 1},
	})
}

func TestAuth(t *testing.T) {
	all := map[string][]answer{
		"GET sys/auth": {ok(
			`{"data":{"userpass/":{"type":"userpass","description":"people","accessor":"up_1","uuid":"u","config":{"default_lease_ttl":0,"max_lease_ttl":3600,"force_no_cache":false,"token_type":"default-service"},"options":{},"plugin_version":"","running_plugin_version":"v1"},"token/":{"type":"token","description":"token based credentials","accessor":"tok_1","uuid":"w","config":{"token_type":"default-service"},"options":null},"k/":{"type":"kerberos","accessor":"k_1"}}}`)}}
	post := func(path string) map[string][]answer { return map[string][]answer{"POST " + path: {{204, ""}}} }
	move := func(statuses ...string) map[string][]answer {
		var turns []answer
		for _, s := range statuses {
			turns = append(turns,
				ok(`{"data":{"migration_id":"m-1","migration_info":{"source_mount":"auth/a/","target_mount":"auth/b/","status":"`+s+`"}}}`))
		}
		return map[string][]answer{"POST sys/remount": {ok(`{"data":{"migration_id":"m-1"},"warnings":["w"]}`)},
			"GET sys/remount/status/m-1": turns}
	}
	runAll(t, []run{
		{name: "auth-list", args: []string{"auth", "list"}, answers: all},
		{name: "auth-list-detailed", args: []string{"auth", "list", "-detailed"}, answers: all},
		{name: "auth-list-json", args: []string{"auth", "list", "-format=json"}, answers: all},
		{name: "auth-enable", args: []string{"auth", "enable", "userpass"}, answers: post("sys/auth/userpass")},
		{name: "auth-enable-everything", args: []string{"auth", "enable", "-path=people/", "-description=d",
			"-default-lease-ttl=1h", "-max-lease-ttl=7200", "-token-type=batch",
			"-options=a=b", "-version=2", "-listing-visibility=unauth", "-audit-non-hmac-request-keys=k1",
			"-audit-non-hmac-request-keys=k2",
			"-passthrough-request-headers=X-A", "-allowed-response-headers=X-B", "-local", "-seal-wrap", "plugin",
			"-plugin-name=userpass"}, answers: post("sys/auth/people")},
		{name: "auth-enable-taken", args: []string{"auth", "enable", "userpass"}, want: 2,
			answers: map[string][]answer{"POST sys/auth/userpass": {refusal(400, "path is already in use at userpass/")}}},
		{name: "auth-enable-no-type", args: []string{"auth", "enable", "plugin"}, want: 1},
		{name: "auth-disable", args: []string{"auth", "disable", "userpass"},
			answers: map[string][]answer{"DELETE sys/auth/userpass": {{204, ""}}}},
		{name: "auth-disable-token", args: []string{"auth", "disable", "token/"}, want: 2,
			answers: map[string][]answer{
				"DELETE sys/auth/token": {refusal(400, "token credential backend cannot be disabled")}}},
		{name: "auth-disable-nothing", args: []string{"auth", "disable", ""}, want: 1},
		{name: "auth-tune", args: []string{"auth", "tune", "-default-lease-ttl=-1", "-max-lease-ttl=24h", "-description=",
			"userpass/"}, answers: post("sys/mounts/auth/userpass/tune")},
		{name: "auth-tune-lockout", args: []string{"auth", "tune", "-user-lockout-threshold=0", "-user-lockout-duration=10m",
			"-user-lockout-disable=false", "userpass"}, answers: post("sys/mounts/auth/userpass/tune")},
		{name: "auth-tune-nothing", args: []string{"auth", "tune", "/"}, want: 1},
		{name: "auth-tune-time-wrong", args: []string{"auth", "tune", "-max-lease-ttl=soon", "a"}, want: 1},
		{name: "auth-move", args: []string{"auth", "move", "a", "auth/b/"}, answers: move("in-progress", "success")},
		{name: "auth-move-failure", args: []string{"auth", "move", "auth/a", "b"}, want: 2, answers: move("failure")},
		{name: "auth-move-refused", args: []string{"auth", "move", "a", "b"}, want: 2,
			answers: map[string][]answer{"POST sys/remount": {refusal(400, "no matching mount at \"auth/a/\"")}}},
		{name: "auth-help", args: []string{"auth", "help", "approle"}},
		{name: "auth-help-path", args: []string{"auth", "help", "userpass/"}, answers: all},
		{name: "auth-help-none", args: []string{"auth", "help", "nope"}, want: 1, answers: all},
		{name: "auth-help-foreign", args: []string{"auth", "help", "k"}, want: 2, answers: all},
	})
}

func TestGeneric(t *testing.T) {
	patch := func(a answer) map[string][]answer { return map[string][]answer{"PATCH secret/app": {a}} }
	names := `{"data":{"keys":["a","b/"]}}`
	unwrap := func(a answer) map[string][]answer { return map[string][]answer{"PUT sys/wrapping/unwrap": {a}} }
	help := func(a answer) map[string][]answer { return map[string][]answer{"GET secret": {a}} }
	runAll(t, []run{
		{name: "patch", args: []string{"patch", "/secret/app", "a=b"}, answers: patch(answer{204, ""})},
		{name: "patch-json", args: []string{"patch", "-format=json", "secret/app", "-"}, stdin: `{"gone":null}`,
			answers: patch(ok(`{"data":{"version":2}}`))},
		{name: "patch-no-data", args: []string{"patch", "secret/app"}, want: 1},
		{name: "patch-force", args: []string{"patch", "-f", "secret/app"}, answers: patch(answer{204, ""})},
		{name: "patch-unsupported", args: []string{"patch", "secret/app", "a=b"}, want: 2,
			answers: patch(refusal(405, "1 error occurred:\n\t* unsupported operation\n\n"))},
		{name: "scan", args: []string{"scan", "secret"}, answers: map[string][]answer{"GET secret": {ok(names)}}},
		{name: "scan-page", args: []string{"scan", "-after=a", "-limit=5", "-format=yaml", "secret"},
			answers: map[string][]answer{"GET secret": {ok(names)}}},
		{name: "scan-nothing", args: []string{"scan", "secret"}, want: 2,
			answers: map[string][]answer{"GET secret": {{404, `{"errors":[]}`}}}},
		{name: "list-nothing-json", args: []string{"list", "-format=json", "secret"}, want: 2,
			answers: map[string][]answer{"GET secret": {{404, `{"errors":[]}`}}}},
		{name: "list-wrapped", args: []string{"list", "-wrap-ttl=1m", "secret"},
			answers: map[string][]answer{"GET secret": {ok(wrappedAnswer)}}},
		{name: "list-detailed-json", args: []string{"list", "-detailed", "-format=json", "secret"},
			answers: map[string][]answer{"GET secret": {ok(`{"data":{"keys":["a"],"key_info":{"a":{"x":1}}}}`)}}},
		{name: "unwrap", args: []string{"unwrap", "s.wrapping"}, answers: unwrap(ok(`{"data":{"a":"b"},"warnings":["w"]}`))},
		{name: "unwrap-own", args: []string{"unwrap", "-field=a"}, answers: unwrap(ok(`{"data":{"a":"b"}}`))},
		{name: "unwrap-stdin-json", args: []string{"unwrap", "-format=json", "-"}, stdin: "s.wrapping\n",
			answers: unwrap(ok(tokenAnswer))},
		{name: "unwrap-without-token", args: []string{"unwrap", "s.wrapping"}, env: map[string]string{"BAO_TOKEN": ""},
			answers: unwrap(ok(`{"data":{"a":"b"}}`))},
		{name: "unwrap-list", args: []string{"unwrap", "s.wrapping"}, answers: unwrap(ok(names))},
		{name: "unwrap-nothing", args: []string{"unwrap", "s.wrapping"}, answers: unwrap(answer{204, ""})},
		{name: "unwrap-used", args: []string{"unwrap", "s.wrapping"}, want: 2,
			answers: unwrap(refusal(400, "wrapping token is not valid or does not exist"))},
		{name: "path-help", args: []string{"path-help", "secret/"},
			answers: help(ok(`{"help":"## DESCRIPTION\n\nKeys and values.","see_also":null,"openapi":{"openapi":"3.0.2"}}`))},
		{name: "path-help-json", args: []string{"path-help", "-format=json", "secret"},
			answers: help(ok(`{"help":"h","openapi":{"openapi":"3.0.2"}}`))},
		{name: "path-help-sealed", args: []string{"path-help", "secret"}, want: 2,
			answers: help(refusal(503, "Vault is sealed"))},
		{name: "path-help-none", args: []string{"path-help", "secret"}, want: 2,
			answers: help(refusal(404, "unsupported path"))},
		{name: "monitor", args: []string{"monitor", "-log-level=DEBUG", "-log-format=json"},
			answers: map[string][]answer{"GET sys/monitor": {ok("{\"a\":1}\n{\"b\":2}\n")}}},
		{name: "monitor-denied", args: []string{"monitor"}, want: 2,
			answers: map[string][]answer{"GET sys/monitor": {refusal(403, "permission denied")}}},
		{name: "monitor-level-unknown", args: []string{"monitor", "-log-level=loud"}, want: 1},
		{name: "monitor-format-unknown", args: []string{"monitor", "-log-format=xml"}, want: 1},
	})
}
