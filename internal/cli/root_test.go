package cli

import (
	"strings"
	"testing"
)

func TestGenerateRoot(t *testing.T) {
	status := func(more string) string {
		return `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"progress":1,"required":3,"complete":false,` +
			`"encoded_token":"","encoded_root_token":"","pgp_fingerprint":"","otp":"","otp_length":26` + more + `}`
	}
	const (
		nonce   = "-nonce=ec010d79-0000-4000-8000-000000000000"
		nothing = `{"nonce":"","started":false,"progress":0,"required":3,"complete":false,"encoded_token":"","encoded_root_token":"","pgp_fingerprint":"","otp":"","otp_length":26}`
		// as OpenBao's token route has it
		brief   = `{"started":false,"progress":0,"required":3,"complete":false,"otp_length":26}`
		done    = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"progress":3,"required":3,"complete":true,"encoded_token":"Ih0c","encoded_root_token":"Ih0c","pgp_fingerprint":"","otp":"","otp_length":0}`
		donePGP = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"progress":3,"required":3,"complete":true,"encoded_token":"wcBMA","encoded_root_token":"wcBMA","pgp_fingerprint":"e9286d","otp":"","otp_length":0}`
	)
	args := func(more ...string) []string { return append([]string{"operator", "generate-root"}, more...) }
	legacy := func(get, put string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/generate-root/attempt": {ok(get)}, "PUT sys/generate-root/attempt": {ok(put)},
			"DELETE sys/generate-root/attempt": {{204, ""}}, "PUT sys/generate-root/update": updates,
			"PUT sys/generate-root/acknowledge": {{204, ""}}}
	}
	off := []answer{refusal(405, "unsupported operation")}
	token := func(get, put string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/generate-root/attempt": off, "PUT sys/generate-root/attempt": off,
			"DELETE sys/generate-root/attempt": off, "PUT sys/generate-root/update": off,
			"GET sys/generate-root-token/attempt": {ok(inData(get))}, "PUT sys/generate-root-token/attempt": {ok(inData(put))},
			"DELETE sys/generate-root-token/attempt": {{204, ""}}, "PUT sys/generate-root-token/update": updates}
	}
	runAll(t, []run{
		{name: "generate-root-init", args: args("-init"),
			answers: legacy(nothing, strings.Replace(status(""), `"otp":""`, `"otp":"fl9qCPxuAAAAAAAAAAAAAAAAAA"`, 1))},
		{name: "generate-root-init-json", args: args("-init", "-format=json"),
			answers: legacy(nothing, strings.Replace(status(""), `"otp":""`, `"otp":"fl9q"`, 1))},
		{name: "generate-root-init-otp", args: args("-init", "-otp=@HOME/otp"), files: map[string]string{"otp": "hunter2\n"},
			secret: "hunter2", answers: legacy(nothing, status(""))},
		{name: "generate-root-init-pgp", args: args("-init", "-pgp-key=HOME/k"), files: map[string]string{"k": "SGVsbG8="},
			answers: legacy(nothing, status(""))},
		{name: "generate-root-init-otp-and-pgp", args: args("-init", "-otp=x", "-pgp-key=age1x"), want: 1},
		{name: "generate-root-init-by-token", args: args("-init"), answers: token(brief, status(""))},
		{name: "generate-root-init-running", args: args("-init"), want: 2,
			answers: map[string][]answer{
				"PUT sys/generate-root/attempt": {refusal(400, "root generation already in progress")}}},
		{name: "generate-root-status", args: args("-status"), answers: legacy(status(`,"holders_given":["alice"]`), "")},
		{name: "generate-root-status-by-token", args: args("-status"), answers: token(brief, "")},
		{name: "generate-root-status-neither", args: args("-status"), want: 2, answers: map[string][]answer{
			"GET sys/generate-root/attempt": off, "GET sys/generate-root-token/attempt": {refusal(403, "permission denied")}}},
		{name: "generate-root-cancel", args: args("-cancel"), answers: legacy(nothing, "")},
		{name: "generate-root-cancel-by-nonce", args: args("-cancel", nonce), env: map[string]string{"BAO_TOKEN": ""},
			answers: legacy(nothing, "")},
		{name: "generate-root-cancel-by-token", args: args("-cancel"), answers: token(nothing, "")},
		{name: "generate-root-share", args: args(nonce, "-"), stdin: "hunter2", secret: "hunter2",
			answers: legacy(status(""), "", ok(status(`,"holders_given":["alice"]`)))},
		{name: "generate-root-share-by-token", args: args(), typed: []string{"hunter2"}, secret: "hunter2",
			answers: token(status(""), "", ok(inData(status(""))))},
		{name: "generate-root-last", args: args(nonce, "KEY2"), answers: legacy(status(""), "", ok(done))},
		{name: "generate-root-last-by-token", args: args(nonce, "KEY2"), answers: func() map[string][]answer {
			all := token(status(""), "", ok(inData(done)))
			all["PUT sys/generate-root-token/acknowledge"] = off
			return all
		}()},
		{name: "generate-root-last-unread", args: args(nonce, "KEY2"), unread: true, want: 1,
			answers: legacy(status(""), "", ok(done))},
		{name: "generate-root-fetches-the-answer", args: args(nonce, "KEY2"), answers: legacy(nothing, "", ok(done))},
		{name: "generate-root-last-json", args: args(nonce, "KEY2", "-format=json"),
			answers: legacy(status(""), "", ok(done))},
		{name: "generate-root-last-pgp", args: args(nonce, "KEY2"), answers: legacy(status(""), "", ok(donePGP))},
		{name: "generate-root-last-lost", args: args(nonce, "KEY2"), want: 2, answers: legacy(status(""), "", lost)},
		{name: "generate-root-piped-one-wrong", args: args(nonce, "@HOME/keys"),
			files: map[string]string{"keys": "K1\nK9\nK2\n"},
			answers: legacy(status(""), "", ok(status("")), refusal(400, "share rejected: it is not one of the current shares"),
				ok(done))},
		{name: "generate-root-nothing-runs", args: args("KEY1"), want: 1, answers: legacy(nothing, "")},
		{name: "generate-root-missing-nonce", args: args("KEY1"), want: 1, answers: legacy(status(""), "")},
		{name: "generate-root-no-terminal", args: args(nonce), want: 1, answers: legacy(status(""), "")},
		{name: "generate-root-two-modes", args: args("-init", "-decode=x"), want: 1},
		{name: "generate-root-recovery-mode", args: args("-recovery-token", nonce, "KEY2"), answers: map[string][]answer{
			"GET sys/generate-recovery-token/attempt":     {ok(status(""))},
			"PUT sys/generate-recovery-token/acknowledge": {refusal(404, "")},
			"PUT sys/generate-recovery-token/update": {
				ok(strings.Replace(done, `"encoded_root_token":"Ih0c"`, `"encoded_root_token":""`, 1))}}},
		{name: "generate-otp", args: args("-generate-otp"), answers: legacy(nothing, "")},
		{name: "generate-otp-json", args: args("-generate-otp", "-format=json"), answers: legacy(nothing, "")},
		{name: "generate-otp-without-server", args: args("-generate-otp", "-address=http://127.0.0.1:1"), want: 2},
		{name: "decode", args: args("-decode=EkEHGA==", "-otp", "aoVt"), answers: nil},
		{name: "decode-unpadded-json", args: args("-decode", "EkEHGA", "-otp=@HOME/otp", "-format=json"),
			files: map[string]string{"otp": "aoVt\n"}},
		{name: "decode-prompt", args: args("-decode=-"), stdin: "EkEHGA\n", typed: []string{"aoVt"}},
		{name: "decode-no-terminal", args: args("-decode=EkEHGA"), want: 1},
		{name: "decode-wrong-otp", args: args("-decode=EkEHGA", "-otp=aAVt"), want: 1},
		{name: "decode-wrong-length", args: args("-decode=EkEHGA", "-otp=aoVtx"), want: 1},
		{name: "decode-not-base64", args: args("-decode=***", "-otp=aoVt"), want: 1},
		{name: "decode-otp-file-missing", args: args("-decode=EkEHGA", "-otp=@HOME/none"), want: 1},
		{name: "decode-empty", args: args("-decode=", "-otp=aoVt"), want: 1},
	})
}

func TestCustodians(t *testing.T) {
	const both = `{"recovery":{"target":"recovery","generation":2,"shares":3,"threshold":2,"created":"2026-11-20T08:00:00Z","holders":[` +
		`{"number":1,"name":"alice","last_proven":"2026-11-21T09:30:11.123456Z"},{"number":2,"name":"bob","last_proven":""},{"number":3,"name":"","last_proven":"0001-01-01T00:00:00Z"}]},` +
		`"barrier":{"target":"barrier","generation":1,"shares":1,"threshold":1,"created":"2026-11-20T08:00:00Z","holders":[{"number":1,"name":"","last_proven":null}]}}`
	proven := `{"proven":true,"target":"recovery","generation":2,"number":3,"name":"alice"}`
	prove := func(answers ...answer) map[string][]answer {
		return map[string][]answer{"PUT sys/recovery/prove": answers}
	}
	runAll(t, []run{
		{name: "custodians", args: []string{"operator", "custodians"},
			answers: map[string][]answer{"GET sys/recovery/holders": {ok(inData(both))}}},
		{name: "custodians-json", args: []string{"operator", "custodians", "-format=json"},
			answers: map[string][]answer{"GET sys/recovery/holders": {ok(inData(both))}}},
		{name: "custodians-denied", args: []string{"operator", "custodians"}, want: 2,
			answers: map[string][]answer{"GET sys/recovery/holders": {refusal(403, "permission denied")}}},
		{name: "custodians-strange", args: []string{"operator", "custodians"}, want: 2,
			answers: map[string][]answer{"GET sys/recovery/holders": {ok(inData(`["a"]`))}}},
		{name: "prove-prompt", args: []string{"operator", "prove"}, typed: []string{"hunter2"}, secret: "hunter2",
			answers: prove(ok(proven))},
		{name: "prove-argument-json", args: []string{"operator", "prove", "-format=json", "KEY3"},
			answers: prove(ok(proven))},
		{name: "prove-nameless", args: []string{"operator", "prove", "-"}, stdin: "K",
			answers: prove(ok(`{"proven":true,"target":"barrier","generation":1,"number":1,"name":""}`))},
		{name: "prove-one-wrong", args: []string{"operator", "prove", "@HOME/all"},
			files: map[string]string{"all": "K1\nK2\nK3\n"}, want: 2,
			answers: prove(ok(proven), refusal(400, "share rejected: it was replaced"), ok(proven))},
		{name: "prove-too-often", args: []string{"operator", "prove", "@HOME/all"},
			files: map[string]string{"all": "hunter2\nhunter3\n"}, want: 2, secret: "hunter",
			answers: prove(refusal(429, "too many wrong shares; try again in a second"))},
		{name: "prove-no-terminal", args: []string{"operator", "prove"}, want: 1},
	})
}

func TestAuthorize(t *testing.T) {
	const (
		nonce   = "-nonce=ec010d79-0000-4000-8000-000000000000"
		nothing = `{"nonce":"","started":false,"started_by":"","progress":0,"required":2,"complete":false,"expires":""}`
		begun   = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"started_by":"root","progress":1,"required":2,"complete":false,"expires":""}`
		done    = `{"nonce":"ec010d79-0000-4000-8000-000000000000","started":true,"started_by":"root","progress":2,"required":2,"complete":true,"expires":"2026-01-01T00:10:00Z"}`
	)
	args := func(more ...string) []string { return append([]string{"operator", "authorize"}, more...) }
	server := func(get string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/authorize/raw/attempt": {ok(get)},
			"PUT sys/authorize/raw/attempt": {ok(begun)}, "DELETE sys/authorize/raw/attempt": {{204, ""}},
			"PUT sys/authorize/raw/update": updates}
	}
	runAll(t, []run{
		{name: "authorize-no-purpose", args: args("-init"), want: 1},
		{name: "authorize-two-modes", args: args("-purpose=raw", "-init", "-cancel"), want: 1},
		{name: "authorize-init", args: args("-purpose=raw", "-init"), answers: server(nothing)},
		{name: "authorize-seals-without-change", args: args("-purpose=seals", "-init"), want: 1},
		{name: "authorize-change-of-raw", args: args("-purpose=raw", "-init", "-change=remove hsm"), want: 1},
		{name: "authorize-seals", args: args("-purpose=seals", "-init", "-change=remove hsm"), answers: map[string][]answer{
			"PUT sys/authorize/seals/attempt": {ok(`{"nonce":"n","started":true,"required":2,` +
				`"change":"remove hsm; policy: any(kms)"}`)}}},
		{name: "authorize-status-json", args: args("-purpose=raw", "-status", "-format=json"), answers: server(begun)},
		{name: "authorize-cancel", args: args("-purpose=raw", "-cancel", nonce), answers: server(begun)},
		{name: "authorize-nothing-runs", args: args("-purpose=raw", "K1"), want: 1, answers: server(nothing)},
		{name: "authorize-missing-nonce", args: args("-purpose=raw", "K1"), want: 1, answers: server(begun)},
		{name: "authorize-prompt", args: args("-purpose=raw"), typed: []string{"hunter2"}, secret: "hunter2",
			answers: server(begun, ok(begun))},
		{name: "authorize-last", args: args("-purpose=raw", nonce, "K2"), answers: server(begun, ok(done))},
		{name: "authorize-wrong", args: args("-purpose=raw", nonce, "K9"), want: 2,
			answers: server(begun, refusal(400, "share rejected: it is not one of the current shares"))},
	})
}
