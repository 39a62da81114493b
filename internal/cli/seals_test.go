package cli

import "testing"

// TestSeals: the commands about the seals that hold the root key, and their exit codes.
func TestSeals(t *testing.T) {
	data := func(text string) answer { return ok(`{"request_id":"d","data":` + text + `}`) }
	const set = `{"policy":"any of hsm, kms","threshold":1,"generation":3,"members":[` +
		`{"name":"hsm","type":"pkcs11","would_unseal":true,"configured":true,"last_proof":"2026-11-22T18:13:05Z",` +
		`"needed_keys":[{"key_id":"a","key_version":"1","for":"root key"}]},` +
		`{"name":"kms","type":"awskms","would_unseal":false,"configured":true,"key_state":"disabled"}],` +
		`"candidates":[{"name":"cloud","type":"gcpckms","configured":true}],` +
		`"losses":["survives the loss of any one of hsm, kms","does not survive the loss of both hsm and kms"],` +
		`"nodes":[{"node":"a","active":true,"seals":[{"name":"hsm","configured":true,"would_unseal":true,` +
		`"last_proof":"2026-11-22T18:13:05Z"},{"name":"kms","configured":true,"failure_class":"key disabled"}]},` +
		`{"node":"b","active":false,"note":"this node reports nothing","seals":[]}],"warnings":["node b reports nothing"]}`
	const done = `{"done":true,"policy":"any of hsm, kms","generation":3,"waiting":[],"warnings":["keep its key"]}`
	const waiting = `{"done":false,"policy":"any of hsm","generation":3,"waiting":["b: denied: no permission"],` +
		`"warnings":[]}`
	put := func(path, body string) map[string][]answer {
		return map[string][]answer{"PUT sys/seals/" + path: {data(body)}}
	}
	forecast := func(all, critical string) map[string][]answer {
		return map[string][]answer{"GET sys/seals/forecast": {data(`{"would_unseal":true,"all_nodes":` + all +
			`,"critical_losses":[` + critical + `],"proven_at":"2026-11-22T18:13:05Z",` +
			`"text":"If every node restarted now, ...",` +
			`"expires":[],"nodes":[{"node":"a","active":true,"would_unseal":` + all + `,"critical_losses":[` + critical +
			`],"proven_at":"2026-11-22T18:13:05Z","cause":"seal \"kms\": key disabled"}]}`)}}
	}
	runAll(t, []run{
		{name: "seals-list", args: []string{"operator", "seals", "list"},
			answers: map[string][]answer{"GET sys/seals": {data(set)}}},
		{name: "seals-list-json", args: []string{"operator", "seals", "list", "-format=json"},
			answers: map[string][]answer{"GET sys/seals": {data(`{"policy":"any of hsm","generation":18446744073709551615}`)}}},
		{name: "seals-list-denied", args: []string{"operator", "seals", "list"}, want: 2,
			answers: map[string][]answer{"GET sys/seals": {refusal(403, "permission denied")}}},
		{name: "seals-verify", args: []string{"operator", "seals", "verify"}, answers: put("verify", set)},
		{name: "seals-add", args: []string{"operator", "seals", "add", "kms"}, answers: put("add", done)},
		{name: "seals-add-waiting", args: []string{"operator", "seals", "add", "kms"}, want: 2, answers: put("add", waiting)},
		{name: "seals-remove", args: []string{"operator", "seals", "remove", "old"}, answers: put("remove", done)},
		{name: "seals-policy", args: []string{"operator", "seals", "policy", "2"}, answers: put("policy", done)},
		{name: "seals-policy-groups", args: []string{"operator", "seals", "policy", "any(hsm_a, hsm_b) and custodians"},
			answers: put("policy", done)},
		{name: "seals-add-policy", args: []string{"operator", "seals", "add", "-policy=any(hsm, kms) and custodians", "kms"},
			answers: put("add", done)},
		{name: "seals-policy-word", args: []string{"operator", "seals", "policy", "any"}, want: 1},
		{name: "seals-rotate-key", args: []string{"operator", "seals", "rotate-key", "kms"},
			answers: put("rotate-key", done)},
		{name: "seals-rotate-key-adopt", args: []string{"operator", "seals", "rotate-key", "-key-id=0a0b", "hsm"}, want: 2,
			answers: put("rotate-key", waiting)},
		{name: "seals-list-keys", args: []string{"operator", "seals", "list"},
			answers: map[string][]answer{"GET sys/seals": {data(`{"policy":"any of hsm","generation":3,` +
				`"members":[{"name":"hsm","type":"pkcs11","other_keys":[{"key_id":"pkcs11:serial=1;object=root;id=%0A",` +
				`"state":"old",` +
				`"since":"2026-11-22T18:13:05Z","snapshots":2}]}]}`)}}},
		{name: "seals-retire", args: []string{"operator", "seals", "retire", "hsm"}, answers: put("retire", done)},
		{name: "seals-retire-destroy", args: []string{"operator", "seals", "retire", "-destroy", "-key=7", "kms"},
			answers: put("retire", done)},
		{name: "seals-rewrap", args: []string{"operator", "seals", "rewrap"}, answers: put("rewrap", done)},
		{name: "seals-rewrap-one", args: []string{"operator", "seals", "rewrap", "kms", "-format=json"},
			answers: put("rewrap", done)},
		{name: "forecast", args: []string{"operator", "forecast"}, answers: forecast("true", `"hsm"`)},
		{name: "forecast-strict", args: []string{"operator", "forecast", "-strict"}, want: 2,
			answers: forecast("true", `"hsm"`)},
		{name: "forecast-ends", args: []string{"operator", "forecast", "-strict"}, want: 2,
			answers: map[string][]answer{"GET sys/seals/forecast": {data(`{"would_unseal":true,"all_nodes":true,` +
				`"text":"If every node restarted now, ...","nodes":[],"expires":[{"seal":"kmip","what":"its client certificate ` +
				`expires","at":"2026-11-30T00:00:00Z","node":"a","soon":true}],"dangers":[{"seal":"hsm","node":"a",` +
				`"what":"PIN tries: a single try of the PIN is left","remedy":"find out who sends wrong PINs"}]}`)}}},
		{name: "forecast-bad", args: []string{"operator", "forecast", "-format=json"}, want: 2,
			answers: forecast("false", "")},
	})
}
