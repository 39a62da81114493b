package cli

import "testing"

func TestBreakGlass(t *testing.T) {
	const (
		sealed = `{"sealed":true,"allowed":true,"enrolled":true,"t":2,"n":3,"progress":1,"nonce":"n1",` +
			`"share_generation":1,"unsealed_by_break_glass":false}`
		unsealed = `{"sealed":false,"allowed":true,"enrolled":false,"t":0,"n":0,"progress":0,"nonce":"",` +
			`"unsealed_by_break_glass":true}`
		other = `{"sealed":true,"allowed":false,"enrolled":false,"t":0,"n":0,"progress":0,"nonce":"",` +
			`"unsealed_by_break_glass":false}`
		forecast = `{"data":{"survives_all_seals":true,"survives_text":"The data survives the loss of every seal."}}`
	)
	args := func(more ...string) []string { return append([]string{"operator", "break-glass"}, more...) }
	server := func(get string, puts ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/break-glass": {ok(get)}, "PUT sys/break-glass": puts,
			"GET sys/seals/forecast": {ok(forecast)}}
	}
	runAll(t, []run{
		{name: "break-glass-share", args: args(), typed: []string{"hunter2"}, secret: "hunter2",
			answers: server(sealed, ok(sealed))},
		{name: "break-glass-last", args: args("K2"), answers: server(sealed, ok(unsealed))},
		{name: "break-glass-wrong", args: args("K9"), want: 2,
			answers: server(sealed, refusal(400, "share rejected: it is not one of the current shares"))},
		{name: "break-glass-reset", args: args("-reset", "K2"), answers: server(sealed, ok(sealed))},
		{name: "break-glass-status-sealed", args: args("status"), answers: server(sealed)},
		{name: "break-glass-status-not-allowed", args: args("status"), answers: server(other)},
		{name: "break-glass-status", args: args("status"), answers: server(unsealed)},
		{name: "break-glass-status-json", args: args("status", "-format=json"), answers: server(unsealed)},
	})
}

func TestBreakGlassEnroll(t *testing.T) {
	const (
		nonce   = "-nonce=ec010d79-0000-4000-8000-000000000000"
		nothing = `{"nonce":"","started":false,"started_by":"","progress":0,"required":2,"complete":false,"enrolled":false}`
		begun   = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"started_by":"root",` +
			`"progress":1,"required":2,"complete":false}`
		done = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"started_by":"root",` +
			`"progress":2,"required":2,"complete":true,"enrolled":true}`
	)
	args := func(more ...string) []string { return append([]string{"operator", "break-glass", "enroll"}, more...) }
	server := func(get string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/break-glass/enroll/attempt": {ok(get)},
			"PUT sys/break-glass/enroll/attempt": {ok(begun)}, "DELETE sys/break-glass/enroll/attempt": {{204, ""}},
			"PUT sys/break-glass/enroll/update": updates}
	}
	runAll(t, []run{
		{name: "break-glass-enroll-init", args: args("-init"), answers: server(nothing)},
		{name: "break-glass-enroll-status", args: args("-status"), answers: server(nothing)},
		{name: "break-glass-enroll-cancel", args: args("-cancel", nonce), answers: server(begun)},
		{name: "break-glass-enroll-nothing-runs", args: args("K1"), want: 1, answers: server(nothing)},
		{name: "break-glass-enroll-prompt", args: args(), typed: []string{"hunter2"}, secret: "hunter2",
			answers: server(begun, ok(begun))},
		{name: "break-glass-enroll-last", args: args(nonce, "K2"), answers: server(begun, ok(done))},
	})
}
