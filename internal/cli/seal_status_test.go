package cli

import "testing"

func TestSealStatus(t *testing.T) {
	const (
		sky = `{"name":"sky","type":"awskms","healthy":true,"disabled":false,"would_unseal":true,"configured":true,"last_proof":"2026-11-22T18:13:05Z",` +
			`"key_state":"enabled","key_newest_version":"3","rewrap_due":false,"needed_keys":[{"key_id":"arn:aws:kms:x","key_version":"3","for":"root key"}]}`
		going = `{"name":"sky","type":"awskms","healthy":true,"disabled":false,"would_unseal":true,"configured":true,"last_proof":"2026-11-22T18:13:05Z",` +
			`"key_state":"pending deletion","key_deletion":"2026-12-01T00:00:00Z","rewrap_due":true,"needed_keys":[{"key_id":"arn:aws:kms:x","for":"root key"}]}`
		hsm = `{"name":"hsm","type":"pkcs11","healthy":false,"disabled":false,"would_unseal":false,` +
			`"configured":true,"unhealthy_since":"2026-11-22T18:13:05Z",` +
			`"failure_class":"unreachable","failure":"no answer","remedy":"plug it in",` +
			`"rewrap_due":false,"key_state_trouble":"may not ask"}`
		hidden = `{"name":"hsm","type":"pkcs11","healthy":false,"would_unseal":false,"configured":true,` +
			`"failure_class":"unreachable"}`
		old = `{"name":"old","type":"static","healthy":false,"disabled":false,"would_unseal":false,` +
			`"configured":false,"rewrap_due":false,` +
			`"needed_keys":[{"key_id":"k1","for":"root key"},{"key_id":"k0","for":"root key, by the previous share set"}]}`
	)
	with := func(backends, rest string) map[string][]answer {
		return map[string][]answer{
			"GET sys/seal-backend-status": {ok(`{"healthy":true,"fully_wrapped":true,"would_unseal":true,"backends":[` +
				backends + `]` + rest + `}`)}}
	}
	runAll(t, []run{
		{name: "seal-status", args: []string{"operator", "seal-status"}, answers: with(sky, "")},
		{name: "seal-status-json", args: []string{"operator", "seal-status", "-format=json"}, answers: with(sky, "")},
		{name: "seal-status-deletion", args: []string{"operator", "seal-status"}, want: 2,
			answers: with(going, `,"warnings":["a key will be destroyed"]`)},
		{name: "seal-status-failing", args: []string{"operator", "seal-status"}, want: 2, answers: with(sky+","+hsm, "")},
		{name: "seal-status-cause-hidden", args: []string{"operator", "seal-status"}, want: 2,
			answers: with(hidden, `,"warnings":["the cause is in the server's log"]`)},
		{name: "seal-status-left-over", args: []string{"operator", "seal-status"}, answers: with(sky+","+old, "")},
		{name: "seal-status-denied", args: []string{"operator", "seal-status"}, want: 1,
			answers: map[string][]answer{"GET sys/seal-backend-status": {refusal(403, "permission denied")}}},
		{name: "seal-status-foreign", args: []string{"operator", "seal-status"}, want: 1,
			answers: map[string][]answer{
				"GET sys/seal-backend-status": {ok(`{"healthy":true,"backends":[{"name":"a","healthy":true}]}`)}}},
	})
}
