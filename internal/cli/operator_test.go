package cli

import (
	"fmt"
	"strings"
	"testing"
)

const (
	hsmInit    = `{"keys":[],"keys_base64":[],"recovery_keys":["11aa","22bb","33cc"],"recovery_keys_base64":["Eao=","Irs=","M8w="],"root_token":"s.EXAMPLE"}`
	shamirInit = `{"keys":["11aa","22bb"],"keys_base64":["Eao=","Irs="],"root_token":"s.EXAMPLE"}`
)

func TestInit(t *testing.T) {
	with := func(seal string, init answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(seal)}, "PUT sys/init": {init}}
	}
	const armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nSGVsbG8=\n-----END PGP PUBLIC KEY BLOCK-----\n"
	runAll(t, []run{
		{name: "init-hsm", args: []string{"operator", "init", "-recovery-shares=3", "-recovery-threshold", "2"},
			answers: with(freshHSM, ok(hsmInit))},
		{name: "init-hsm-defaults-json", args: []string{"operator", "init", "-format=json"},
			answers: with(freshHSM, ok(hsmInit))},
		{name: "init-hsm-without-recovery", args: []string{"operator", "init"},
			answers: with(freshHSM, ok(`{"keys":[],"keys_base64":[],"root_token":"s.EXAMPLE"}`))},
		{name: "init-shamir", args: []string{"operator", "init", "-n", "2", "-t=2"}, answers: with(fresh, ok(shamirInit))},
		{name: "init-shamir-zero-is-default", args: []string{"operator", "init", "-key-shares=0"},
			answers: with(fresh, ok(shamirInit))},
		{name: "init-wrong-kind", args: []string{"operator", "init", "-key-shares=1", "-key-threshold=1"}, want: 2,
			answers: with(freshHSM,
				refusal(400, "parameters secret_shares,secret_threshold not applicable to seal type pkcs11"))},
		{name: "init-twice", args: []string{"operator", "init"}, want: 2,
			answers: with(fresh, refusal(400, "Vault is already initialized"))},
		{name: "init-status-yes", args: []string{"operator", "init", "-status"},
			answers: map[string][]answer{"GET sys/init": {ok(`{"initialized":true}`)}}},
		{name: "init-status-no", args: []string{"operator", "init", "-status"}, want: 2,
			answers: map[string][]answer{"GET sys/init": {ok(`{"initialized":false}`)}}},
		{name: "init-status-error", args: []string{"operator", "init", "-status"}, want: 1,
			answers: map[string][]answer{"GET sys/init": {refusal(500, "broken")}}},
		{name: "init-pgp", args: []string{"operator", "init", "-n=2", "-t=2", "-pgp-keys=HOME/a.asc,HOME/b.b64",
			"-root-token-pgp-key", "HOME/c.pgp"},
			files:   map[string]string{"a.asc": armored, "b.b64": "SGVs\nbG8=\n", "c.pgp": "\x99\x01\x02"},
			answers: with(fresh, ok(shamirInit))},
		{name: "init-pgp-private", args: []string{"operator", "init", "-pgp-keys=HOME/a.asc"}, want: 1,
			files: map[string]string{"a.asc": strings.ReplaceAll(armored, "PUBLIC", "PRIVATE")}},
		{name: "init-pgp-missing", args: []string{"operator", "init", "-pgp-keys=HOME/none.asc"}, want: 1},
		{name: "init-pgp-keybase", args: []string{"operator", "init", "-pgp-keys=keybase:alice"}, want: 1},
		{name: "init-arguments", args: []string{"operator", "init", "5"}, want: 1},
	})
}

func TestUnsealAndSeal(t *testing.T) {
	one := map[string][]answer{"PUT sys/unseal": {ok(sealedOne)}, "GET sys/leader": {ok(noHA)}}
	two := map[string][]answer{"PUT sys/unseal": {ok(sealedOne), ok(unsealed)}, "GET sys/leader": {ok(noHA)}}
	runAll(t, []run{
		{name: "unseal-argument", args: []string{"operator", "unseal", "KEY1"}, answers: one},
		{name: "unseal-prompt", args: []string{"operator", "unseal"}, typed: []string{"hunter2"}, answers: one,
			secret: "hunter2"},
		{name: "unseal-stdin", args: []string{"operator", "unseal", "-"}, stdin: "KEY1\n\nKEY2\nKEY3\n", answers: two},
		{name: "unseal-file", args: []string{"operator", "unseal", "@HOME/share"}, files: map[string]string{"share": "KEY1"},
			answers: one},
		{name: "unseal-migrate", args: []string{"operator", "unseal", "-migrate", "KEY1"}, answers: one},
		{name: "unseal-reset", args: []string{"operator", "unseal", "-reset"}, answers: one},
		{name: "unseal-json", args: []string{"operator", "unseal", "-format=json", "KEY1"}, answers: one},
		{name: "unseal-no-terminal", args: []string{"operator", "unseal"}, want: 1},
		{name: "unseal-non-interactive", args: []string{"operator", "unseal", "-non-interactive"}, typed: []string{"KEY1"},
			want: 1},
		{name: "unseal-nothing-typed", args: []string{"operator", "unseal"}, typed: []string{" "}, want: 1},
		{name: "unseal-empty-input", args: []string{"operator", "unseal", "-"}, want: 1},
		{name: "unseal-refused", args: []string{"operator", "unseal", "hunter2"}, want: 2, secret: "error: hunter2",
			answers: map[string][]answer{"PUT sys/unseal": {refusal(400, "'key' must be a valid hex or base64 string")}}},
		{name: "seal", args: []string{"operator", "seal"}, answers: map[string][]answer{"PUT sys/seal": {{204, ""}}}},
		{name: "seal-denied", args: []string{"operator", "seal"}, want: 2,
			answers: map[string][]answer{"PUT sys/seal": {refusal(403, "1 error occurred:\n\t* permission denied\n\n")}}},
		{name: "step-down", args: []string{"operator", "step-down"},
			answers: map[string][]answer{"PUT sys/step-down": {{204, ""}}}},
	})
}

func TestRotate(t *testing.T) {
	const status = `{"term":8,"install_time":"2026-11-22T18:13:05.5Z","encryptions":184,"request_id":"d","data":{"encryptions":184,"install_time":"2026-11-22T18:13:05.5Z","term":8}}`
	both := func(rotate, status answer) map[string][]answer {
		return map[string][]answer{"POST sys/rotate": {rotate}, "GET sys/key-status": {status}}
	}
	runAll(t, []run{
		{name: "rotate", args: []string{"operator", "rotate"}, answers: both(answer{204, ""}, ok(status))},
		{name: "rotate-json", args: []string{"operator", "rotate", "-format=json"},
			answers: both(answer{204, ""}, ok(status))},
		{name: "rotate-denied", args: []string{"operator", "rotate"}, want: 2,
			answers: both(refusal(403, "permission denied"), ok(status))},
		{name: "rotate-status-denied", args: []string{"operator", "rotate"}, want: 2,
			answers: both(answer{204, ""}, refusal(403, "permission denied"))},
		{name: "key-status", args: []string{"operator", "key-status"}, answers: both(answer{}, ok(status))},
		{name: "compact", args: []string{"operator", "compact"}, answers: map[string][]answer{
			"PUT sys/storage/compact": {ok(`{"data":{"bytes_before":734003200,"bytes_after":51200000}}`)}}},
		{name: "compact-refused", args: []string{"operator", "compact"}, want: 2, answers: map[string][]answer{
			"PUT sys/storage/compact": {refusal(400, "the storage \"etcd\" is not compacted by Sealgate")}}},
		{name: "key-status-yaml", args: []string{"operator", "key-status", "-format=yaml"},
			answers: both(answer{}, ok(status))},
	})
}

func TestRewrap(t *testing.T) {
	const census = `{"data":{"term":3,"install_time":"2026-11-22T18:13:05.5Z","encryptions":184,` +
		`"encryption_limit":4294967296,"encryptions_remaining":4294967112,"exact":false,"counting":true,` +
		`"terms":[{"term":2,"active":false,"install_time":"2026-11-21T18:13:05.5Z","encryptions":5000,` +
		`"entries":17,"bytes":9000},{"term":3,"active":true,"install_time":"2026-11-22T18:13:05.5Z",` +
		`"encryptions":184,"entries":3,"bytes":120}]}}`
	const running = `{"data":{"state":"running","phase":"rewrap","target_term":3,"retire":true,"rate":0,` +
		`"entries":1200,"bytes":9,"visited":1300,"remaining":800,"percent":60,"entries_per_second":400,` +
		`"estimated_seconds":2,"started":"2026-11-22T18:13:05Z","retired_terms":[],"damaged":["logical/x"]}}`
	const compromised = `{"data":{"state":"running","phase":"rewrap","target_term":3,"retire":true,"entries":0,` +
		`"entries_per_second":0,"started":"2026-11-22T18:13:05Z","retired_terms":[],"damaged":[],` +
		`"change_outside":[{"what":"secret/","do":"change every secret"}]}}`
	const done = `{"data":{"state":"done","phase":"retire","target_term":3,"retire":true,"entries":2000,` +
		`"remaining":0,"percent":100,"entries_per_second":400,"started":"2026-11-22T18:13:05Z",` +
		`"ended":"2026-11-22T18:14:05Z","retired_terms":[1,2],"damaged":[]}}`
	const retirement = `{"data":{"terms":[1,2],"entries":0,"exact":true,"snapshots":{},` +
		`"warnings":["a snapshot holds the keys"]}}`
	all := map[string][]answer{"GET sys/key-status": {ok(census)}, "POST sys/rotate": {ok(compromised)},
		"PUT sys/rotate/rewrap": {ok(running)}, "GET sys/rotate/rewrap": {ok(running)},
		"PUT sys/rotate/rewrap/pause": {ok(running)}, "PUT sys/rotate/rewrap/resume": {ok(running)},
		"PUT sys/rotate/rewrap/cancel": {ok(done)}, "GET sys/rotate/retire": {ok(retirement)},
		"PUT sys/rotate/retire": {ok(done)}}
	runAll(t, []run{
		{name: "key-status-terms", args: []string{"operator", "key-status"}, answers: all},
		{name: "rotate-compromised", args: []string{"operator", "rotate", "-compromised"}, answers: all},
		{name: "rewrap-start", args: []string{"operator", "rewrap", "start", "-rate=50", "-retire"}, answers: all},
		{name: "rewrap-status", args: []string{"operator", "rewrap", "status"}, answers: all},
		{name: "rewrap-none", args: []string{"operator", "rewrap", "status"},
			answers: map[string][]answer{"GET sys/rotate/rewrap": {ok(`{"data":{"state":"none"}}`)}}},
		{name: "rewrap-pause", args: []string{"operator", "rewrap", "pause"}, answers: all},
		{name: "rewrap-resume", args: []string{"operator", "rewrap", "resume", "-rate=7"}, answers: all},
		{name: "rewrap-cancel", args: []string{"operator", "rewrap", "cancel"}, answers: all},
		{name: "rewrap-denied", args: []string{"operator", "rewrap", "cancel"}, want: 2,
			answers: map[string][]answer{"PUT sys/rotate/rewrap/cancel": {refusal(403, "permission denied")}}},
		{name: "retire", args: []string{"operator", "retire"}, answers: all},
		{name: "retire-yes", args: []string{"operator", "retire", "-yes"}, answers: all},
	})
}

const rekeyIdle = `{"nonce":"","started":false,"t":0,"n":0,"progress":0,"required":2,"pgp_fingerprints":null,"backup":false,"verification_required":false}`

func rekeyRuns(progress int) string {
	return fmt.Sprintf(`{"nonce":"7d0b3c4e-0000-4000-8000-000000000000","started":true,"t":4,"n":7,"progress":%d,"required":2,"pgp_fingerprints":null,"backup":false,"verification_required":false}`, progress)
}

const (
	rekeyDone     = `{"nonce":"7d0b3c4e-0000-4000-8000-000000000000","complete":true,"keys":["01aa","02bb"],"keys_base64":["Aao=","Ars="],"pgp_fingerprints":null,"backup":false,"verification_required":false}`
	rekeyDonePGP  = `{"nonce":"7d0b3c4e-0000-4000-8000-000000000000","complete":true,"keys":["01aa"],"keys_base64":["Aao="],"pgp_fingerprints":["e9286d"],"backup":true,"verification_required":true,"verification_nonce":"9e8d0000-0000-4000-8000-000000000000"}`
	rekeyDoneRoot = `{"nonce":"7d0b3c4e-0000-4000-8000-000000000000","complete":true,"keys":[],"keys_base64":[],"pgp_fingerprints":null,"backup":false,"verification_required":false}`
	rekeyPGP      = `{"nonce":"7d0b","started":true,"t":1,"n":1,"progress":0,"required":2,"pgp_fingerprints":["e9286d"],"backup":true,"verification_required":true,"verification_nonce":"9e8d"}`
	verifying     = `{"nonce":"9e8d0000-0000-4000-8000-000000000000","started":true,"t":1,"n":1,"progress":0}`
)

func TestRekey(t *testing.T) {
	// recovery has the responses of GET and PUT init, and those of update in turn.
	recovery := func(get, put string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(unsealedHSM)}, "GET sys/rekey-recovery-key/init": {ok(get)},
			"PUT sys/rekey-recovery-key/init": {ok(put)}, "PUT sys/rekey-recovery-key/update": updates,
			"PUT sys/rekey-recovery-key/acknowledge": {{204, ""}}}
	}
	const nonce = "-nonce=7d0b3c4e-0000-4000-8000-000000000000"
	rekey := func(more ...string) []string { return append([]string{"operator", "rekey"}, more...) }
	runAll(t, []run{
		{name: "rekey-init-means-recovery", args: rekey("-init", "-key-shares=7", "-key-threshold=4"),
			answers: recovery(rekeyIdle, rekeyRuns(0))},
		{name: "rekey-init-barrier-shamir", args: rekey("-init", "-n=7", "-t=4", "-verify"), answers: map[string][]answer{
			"GET sys/seal-status": {ok(unsealed)}, "PUT sys/rekey/init": {ok(rekeyRuns(0))}}},
		{name: "rekey-init-pgp", args: rekey("-init", "-target=hsm", "-n=1", "-t=1", "-pgp-keys=HOME/k", "-backup"),
			files: map[string]string{"k": "SGVsbG8="}, answers: recovery(rekeyIdle, rekeyPGP)},
		{name: "rekey-status", args: rekey("-status", "-target=recovery"), answers: recovery(rekeyRuns(1), "")},
		{name: "rekey-status-idle", args: rekey("-status", "-target=recovery"), answers: recovery(rekeyIdle, "")},
		{name: "rekey-status-json", args: rekey("-status", "-target=recovery", "-format=json"),
			answers: recovery(rekeyPGP, "")},
		{name: "rekey-cancel", args: rekey("-cancel", "-target=barrier"),
			answers: map[string][]answer{"DELETE sys/rekey/init": {{204, ""}}}},
		{name: "rekey-prompt", args: rekey("-target=recovery"), typed: []string{"hunter2"}, secret: "hunter2",
			answers: recovery(rekeyRuns(0), "", ok(rekeyRuns(1)))},
		{name: "rekey-argument", args: rekey("-target=recovery", nonce, "KEY1"),
			answers: recovery(rekeyRuns(0), "", ok(rekeyRuns(1)))},
		{name: "rekey-stdin-last", args: rekey("-", "-target=recovery", nonce), stdin: "KEY2",
			answers: recovery(rekeyRuns(1), "", ok(rekeyDone))},
		{name: "rekey-last-json", args: rekey("-format=json", "-target=recovery", nonce, "KEY2"),
			answers: recovery(rekeyRuns(1), "", ok(rekeyDone))},
		{name: "rekey-last-pgp-verify", args: rekey("-target=recovery", nonce, "KEY2"), answers: map[string][]answer{
			"GET sys/rekey-recovery-key/init": {ok(rekeyRuns(1))}, "PUT sys/rekey-recovery-key/update": {ok(rekeyDonePGP)},
			"PUT sys/rekey-recovery-key/acknowledge": {refusal(405, "unsupported operation")},
			"GET sys/rekey-recovery-key/verify":      {ok(verifying)}, "GET sys/seal-status": {ok(unsealedHSM)}}},
		{name: "rekey-root-key", args: rekey("-target=barrier", nonce, "KEY2"), answers: map[string][]answer{
			"GET sys/rekey/init": {ok(rekeyRuns(1))}, "PUT sys/rekey/update": {ok(rekeyDoneRoot)},
			"GET sys/seal-status": {ok(unsealedHSM)}}},
		{name: "rekey-missing-nonce", args: rekey("-target=recovery", "KEY1"), want: 1, answers: recovery(rekeyRuns(0), "")},
		{name: "rekey-nothing-runs", args: rekey("-target=recovery"), typed: []string{}, want: 1,
			answers: recovery(rekeyIdle, "")},
		{name: "rekey-nothing-kept", args: rekey("-target=recovery", nonce, "KEY1"), want: 2,
			answers: recovery(rekeyIdle, "", refusal(400, "no recovery rekey in progress"))},
		{name: "rekey-no-terminal", args: rekey("-target=recovery"), want: 1, answers: recovery(rekeyRuns(0), "")},
		{name: "rekey-piped-one-wrong", args: rekey("-target=recovery", nonce, "-"), stdin: "KEY1\nKEY9\nKEY2\n",
			answers: recovery(rekeyRuns(0), "", ok(rekeyRuns(1)),
				refusal(400, "share rejected: it is not one of the current shares"), ok(rekeyDone))},
		{name: "rekey-expired-token", args: rekey("-cancel", "-target=recovery"), want: 2,
			answers: map[string][]answer{"DELETE sys/rekey-recovery-key/init": {refusal(403, "permission denied")}}},
		{name: "rekey-refused", args: rekey("-target=recovery", nonce, "KEY9"), want: 2, secret: "KEY9 is",
			answers: recovery(rekeyRuns(0), "", refusal(400, "share rejected: it is not one of the current shares"))},
		{name: "rekey-one-shot", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4"),
			typed: []string{"hunter1", "hunter2", "hunter3"}, secret: "hunter",
			answers: recovery(rekeyIdle, rekeyRuns(0), ok(rekeyRuns(1)),
				refusal(400, "share rejected: it is not one of the current shares"), ok(rekeyDone))},
		{name: "rekey-one-shot-piped", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4", "-"),
			stdin:   "KEY1\nKEY2\n",
			answers: recovery(rekeyIdle, rekeyRuns(0), ok(rekeyRuns(1)), ok(rekeyDone))},
		{name: "rekey-one-shot-nothing-piped", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4", "-"),
			want: 1, answers: recovery(rekeyIdle, "")},
		{name: "rekey-one-shot-too-few", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4", "-"),
			stdin: "KEY1\n", want: 2,
			answers: recovery(rekeyIdle, rekeyRuns(0), ok(rekeyRuns(1)))},
		{name: "rekey-one-shot-interrupted", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4"),
			typed: []string{"KEY1"}, want: 1,
			answers: recovery(rekeyIdle, rekeyRuns(0), ok(rekeyRuns(1)))},
		{name: "rekey-one-shot-no-terminal", args: rekey("-target=recovery", "-key-shares=7", "-key-threshold=4"), want: 1,
			answers: recovery(rekeyIdle, "")},
		{name: "rekey-one-shot-other-runs", args: rekey("-target=recovery", "-key-shares=9"), typed: []string{}, want: 1,
			answers: recovery(rekeyRuns(1), "")},
		{name: "rekey-target-unknown", args: rekey("-target=foo", "-status"), want: 1},
		{name: "rekey-two-modes", args: rekey("-init", "-cancel"), want: 1},
		{name: "rekey-backup-delete", args: rekey("-backup-delete", "-target=recovery"),
			answers: map[string][]answer{"DELETE sys/rekey/recovery-key-backup": {{204, ""}}}},
		{name: "rekey-backup-retrieve", args: rekey("-backup-retrieve", "-target=barrier"), answers: map[string][]answer{
			"GET sys/rekey/backup": {
				ok(`{"data":{"nonce":"7d0b","keys":{"e9286d":["01aa"]},"keys_base64":{"e9286d":["Aao="]}}}`)}}},
		{name: "rekey-verify-status", args: rekey("-verify", "-status", "-target=barrier"),
			answers: map[string][]answer{"GET sys/rekey/verify": {ok(verifying)}}},
		{name: "rekey-verify", args: rekey("-verify", "-target=barrier"), typed: []string{"hunter2"}, secret: "hunter2",
			answers: map[string][]answer{
				"GET sys/rekey/verify": {ok(verifying)},
				"PUT sys/rekey/verify": {ok(`{"nonce":"9e8d0000-0000-4000-8000-000000000000","complete":true}`)}}},
		{name: "rekey-verify-restart", args: rekey("-verify", "-cancel", "-target=barrier"),
			answers: map[string][]answer{"DELETE sys/rekey/verify": {ok(verifying)}}},
	})
}
