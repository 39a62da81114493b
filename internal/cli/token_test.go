package cli

import "testing"

const lookupAnswer = `{"request_id":"r","data":{"accessor":"ACC","creation_time":1760000000,"creation_ttl":3600,"display_name":"token-ci","entity_id":"","expire_time":"2026-01-02T04:04:05Z","explicit_max_ttl":0,"id":"s.EXAMPLE","meta":null,"num_uses":0,"orphan":false,"path":"auth/token/create","policies":["default","p1"],"renewable":true,"ttl":3599,"type":"service"}}`

func TestToken(t *testing.T) {
	post := func(path string, a answer) map[string][]answer { return map[string][]answer{"POST " + path: {a}} }
	puts := func(path string, a answer) map[string][]answer { return map[string][]answer{"PUT " + path: {a}} }
	warned := `{"data":null,"warnings":["No token found with this accessor"]}`
	runAll(t, []run{
		{name: "token-create", args: []string{"token", "create"}, answers: post("auth/token/create", ok(tokenAnswer))},
		{name: "token-create-everything", args: []string{"token", "create", "-id=mine", "-display-name=ci", "-ttl=1h", "-explicit-max-ttl=24h", "-period=60",
			"-renewable=false", "-no-default-policy", "-use-limit=3", "-metadata=a=b", "-metadata", "c=d", "-policy=p1", "-policy=p2,p3", "-format=json"},
			answers: post("auth/token/create", ok(tokenAnswer))},
		{name: "token-create-orphan", args: []string{"token", "create", "-orphan", "-field=token"}, answers: post("auth/token/create-orphan", ok(tokenAnswer))},
		{name: "token-create-role-batch", args: []string{"token", "create", "-role=ci", "-type=batch", "-entity-alias=e", "-format=yaml"}, answers: post("auth/token/create/ci", ok(tokenAnswer))},
		{name: "token-create-wrapped", args: []string{"token", "create", "-wrap-ttl=5m"}, answers: post("auth/token/create", ok(wrappedAnswer))},
		{name: "token-create-wrapped-field", args: []string{"token", "create", "-wrap-ttl=5m", "-field=wrapping_token"}, answers: post("auth/token/create", ok(wrappedAnswer))},
		{name: "token-create-warned", args: []string{"token", "create", "-policy=x"}, answers: post("auth/token/create", ok(`{"auth":{"client_token":"s.C","accessor":"A","policies":["default","x"],"token_policies":["default","x"],"lease_duration":0},"warnings":["Policy \"x\" does not exist","another"]}`))},
		{name: "token-create-denied", args: []string{"token", "create", "-period=1h"}, want: 2, answers: post("auth/token/create", refusal(400, "root or sudo privileges required to create periodic token"))},
		{name: "token-create-argument", args: []string{"token", "create", "x"}, want: 1},
		{name: "token-create-role-elsewhere", args: []string{"token", "create", "-role=../x"}, want: 1},
		{name: "token-lookup", args: []string{"token", "lookup"}, answers: map[string][]answer{"GET auth/token/lookup-self": {ok(lookupAnswer)}}},
		{name: "token-lookup-other", args: []string{"token", "lookup", "-format=json", "s.other"}, answers: post("auth/token/lookup", ok(lookupAnswer))},
		{name: "token-lookup-stdin", args: []string{"token", "lookup", "-", "-field=ttl"}, stdin: "s.other\n", answers: post("auth/token/lookup", ok(lookupAnswer))},
		{name: "token-lookup-accessor", args: []string{"token", "lookup", "-accessor", "ACC"}, answers: post("auth/token/lookup-accessor", ok(lookupAnswer))},
		{name: "token-lookup-accessor-missing", args: []string{"token", "lookup", "-accessor"}, want: 1},
		{name: "token-lookup-bad", args: []string{"token", "lookup", "s.other"}, want: 2, answers: post("auth/token/lookup", refusal(403, "bad token"))},
		{name: "token-lookup-two", args: []string{"token", "lookup", "a", "b"}, want: 1},
		{name: "token-renew", args: []string{"token", "renew"}, answers: puts("auth/token/renew-self", ok(tokenAnswer))},
		{name: "token-renew-other", args: []string{"token", "renew", "-i=90m", "s.other"}, answers: puts("auth/token/renew", ok(tokenAnswer))},
		{name: "token-renew-accessor", args: []string{"token", "renew", "-increment=60", "-accessor", "ACC"}, answers: post("auth/token/renew-accessor", ok(tokenAnswer))},
		{name: "token-revoke", args: []string{"token", "revoke", "s.other"}, answers: puts("auth/token/revoke", answer{204, ""})},
		{name: "token-revoke-self", args: []string{"token", "revoke", "-self"}, answers: puts("auth/token/revoke-self", answer{204, ""})},
		{name: "token-revoke-orphan", args: []string{"token", "revoke", "-mode=orphan", "s.other"}, answers: puts("auth/token/revoke-orphan", answer{204, ""})},
		{name: "token-revoke-path", args: []string{"token", "revoke", "-mode=path", "auth/userpass/"}, answers: puts("sys/leases/revoke-prefix/auth/userpass", answer{204, ""})},
		{name: "token-revoke-accessor", args: []string{"token", "revoke", "-accessor", "ACC"}, answers: post("auth/token/revoke-accessor", ok(warned))},
		{name: "token-revoke-nothing", args: []string{"token", "revoke"}, want: 1},
		{name: "token-revoke-self-and-other", args: []string{"token", "revoke", "-self", "x"}, want: 1},
		{name: "token-revoke-self-accessor", args: []string{"token", "revoke", "-self", "-accessor"}, want: 1},
		{name: "token-revoke-self-mode", args: []string{"token", "revoke", "-self", "-mode=orphan"}, want: 1},
		{name: "token-revoke-accessor-mode", args: []string{"token", "revoke", "-accessor", "-mode=path", "x"}, want: 1},
		{name: "token-revoke-mode-unknown", args: []string{"token", "revoke", "-mode=all", "x"}, want: 1},
		{name: "token-capabilities", args: []string{"token", "capabilities", "secret/app"}, answers: post("sys/capabilities-self", ok(`{"data":{"capabilities":["update","read"],"secret/app":["update","read"]}}`))},
		{name: "token-capabilities-other", args: []string{"token", "capabilities", "s.other", "secret/app", "-format=json"}, answers: post("sys/capabilities", ok(`{"data":{"secret/app":["deny"]}}`))},
		{name: "token-capabilities-accessor", args: []string{"token", "capabilities", "-accessor", "ACC", "/secret/app"}, answers: post("sys/capabilities-accessor", ok(`{"data":{"capabilities":["root"],"secret/app":["root"]}}`))},
		{name: "token-capabilities-none", args: []string{"token", "capabilities", "x"}, want: 1, answers: post("sys/capabilities-self", ok(`{"data":{"x":[]}}`))},
		{name: "token-capabilities-no-path", args: []string{"token", "capabilities"}, want: 1},
		{name: "token-capabilities-bad", args: []string{"token", "capabilities", "s.o", "x"}, want: 2, answers: post("sys/capabilities", refusal(400, "invalid token"))},
	})
}

func TestLease(t *testing.T) {
	puts := func(path string, a answer) map[string][]answer { return map[string][]answer{"PUT " + path: {a}} }
	const id = "auth/token/create/h1"
	runAll(t, []run{
		{name: "lease-lookup", args: []string{"lease", "lookup", id}, answers: puts("sys/leases/lookup", ok(`{"data":{"id":"auth/token/create/h1","issue_time":"2026-01-02T03:04:05Z","expire_time":null,"last_renewal":null,"renewable":true,"ttl":60}}`))},
		{name: "lease-lookup-unknown", args: []string{"lease", "lookup", id}, want: 2, answers: puts("sys/leases/lookup", refusal(400, "invalid lease"))},
		{name: "lease-renew", args: []string{"lease", "renew", "-increment=2m", id}, answers: puts("sys/leases/renew", ok(`{"lease_id":"auth/token/create/h1","renewable":true,"lease_duration":120}`))},
		{name: "lease-renew-missing", args: []string{"lease", "renew"}, want: 1},
		{name: "lease-renew-empty", args: []string{"lease", "renew", " / "}, want: 1},
		{name: "lease-revoke", args: []string{"lease", "revoke", id}, answers: puts("sys/leases/revoke/"+id, answer{204, ""})},
		{name: "lease-revoke-sync", args: []string{"lease", "revoke", "-sync", id}, answers: puts("sys/leases/revoke/"+id, answer{204, ""})},
		{name: "lease-revoke-prefix", args: []string{"lease", "revoke", "-prefix", "-sync", "auth/userpass"}, answers: puts("sys/leases/revoke-prefix/auth/userpass", answer{204, ""})},
		{name: "lease-revoke-force", args: []string{"lease", "revoke", "-force", "-prefix", "auth/userpass"}, answers: puts("sys/leases/revoke-force/auth/userpass", answer{204, ""})},
		{name: "lease-revoke-force-alone", args: []string{"lease", "revoke", "-f", id}, want: 1},
		{name: "lease-revoke-elsewhere", args: []string{"lease", "revoke", "a/../../policies"}, want: 1},
		{name: "lease-revoke-denied", args: []string{"lease", "revoke", "-prefix", "x"}, want: 2, answers: puts("sys/leases/revoke-prefix/x", refusal(403, "1 error occurred:\n\t* permission denied\n\n"))},
	})
}
