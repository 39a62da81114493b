package cli

import (
	"fmt"
	"strings"
	"testing"
)

const (
	theNonce    = "7d0b3c4e-0000-4000-8000-000000000000"
	nonceFlag   = "-nonce=" + theNonce
	verifyNonce = "9e8d0000-0000-4000-8000-000000000000"
)

// inData wraps an object in the envelope.
func inData(object string) string {
	return `{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":` + object + `,"warnings":null}`
}

// givenBy is a rekey that needs three shares and has those of the holders.
func givenBy(names ...string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return fmt.Sprintf(`{"nonce":%q,"started":true,"t":2,"n":2,"progress":%d,"required":3,"pgp_fingerprints":null,"backup":false,`+
		`"verification_required":false,"holders_given":[%s]}`, theNonce, len(names), strings.Join(quoted, ","))
}

// TestLastShare loses the response to the last share in different ways.
func TestLastShare(t *testing.T) {
	script := func(acknowledge answer, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(unsealedHSM)},
			"GET sys/rekey-recovery-key/init":   {ok(givenBy("alice", "bob"))},
			"PUT sys/rekey-recovery-key/update": updates, "PUT sys/rekey-recovery-key/acknowledge": {acknowledge}}
	}
	done := answer{204, ""}
	args := []string{"operator", "rekey", "-target=recovery", nonceFlag, "-"}
	asJSON := append([]string{"operator", "rekey", "-format=json"}, args[2:]...)
	runAll(t, []run{
		{name: "last-share-acknowledged", args: args, stdin: "KEY3", answers: script(done, ok(rekeyDone))},
		{name: "last-share-acknowledged-json", args: asJSON, stdin: "KEY3", answers: script(done, ok(rekeyDone))},
		{name: "last-share-not-printed", args: args, stdin: "hunter2", secret: "hunter2", unread: true, want: 1,
			answers: script(done, ok(rekeyDone))},
		{name: "last-share-not-printed-json", args: asJSON, stdin: "KEY3", unread: true, want: 1,
			answers: script(done, ok(rekeyDone))},
		{name: "last-share-older-server", args: args, stdin: "KEY3",
			answers: script(refusal(404, "unsupported path"), ok(rekeyDone))},
		{name: "last-share-acknowledge-fails", args: args, stdin: "KEY3",
			answers: script(refusal(500, "the disk is full"), ok(rekeyDone))},
		{name: "last-share-reply-lost", args: args, stdin: "hunter2", secret: "hunter2",
			answers: script(done, lost, ok(rekeyDone))},
		{name: "last-share-reply-torn", args: args, stdin: "KEY3", answers: script(done, torn, ok(rekeyDone))},
		{name: "last-share-reply-lost-twice", args: args, stdin: "hunter2", secret: "hunter2", want: 2,
			answers: script(done, lost)},
		{name: "last-share-lost-older-server", args: args, stdin: "KEY3", want: 2,
			answers: script(done, lost, refusal(400, "no recovery rekey in progress"))},
		{name: "share-reply-lost-but-counted", args: args, stdin: "KEY2",
			answers: script(done, lost, refusal(400, "given key has already been provided during this operation"))},
		{name: "share-behind-a-proxy", args: args, stdin: "KEY2", env: map[string]string{"SEALGATE_MAX_RETRIES": "1"},
			answers: script(done, refusal(502, "bad gateway"),
				refusal(400, "given key has already been provided during this operation"))},
		{name: "share-fetches-the-answer", args: args, stdin: "KEY3", answers: map[string][]answer{
			"GET sys/seal-status": {ok(unsealedHSM)}, "GET sys/rekey-recovery-key/init": {ok(rekeyIdle)},
			"PUT sys/rekey-recovery-key/update": {ok(rekeyDone)}, "PUT sys/rekey-recovery-key/acknowledge": {done}}},
		{name: "share-connection-refused", args: append(args, "-address=http://127.0.0.1:1"), stdin: "KEY3", want: 2},
	})
}

func TestHolders(t *testing.T) {
	rekey := func(more ...string) []string {
		return append([]string{"operator", "rekey", "-target=recovery"}, more...)
	}
	script := func(get, put string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(unsealedHSM)}, "GET sys/rekey-recovery-key/init": {ok(get)},
			"PUT sys/rekey-recovery-key/init":   {ok(put)},
			"PUT sys/rekey-recovery-key/update": updates, "PUT sys/rekey-recovery-key/acknowledge": {{204, ""}}}
	}
	const age = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
	runAll(t, []run{
		{name: "holders-init", args: rekey("-init", "-n=2", "-t=2", "-holders=alice, bob"),
			answers: script(rekeyIdle, givenBy())},
		{name: "holders-too-few", args: rekey("-init", "-n=3", "-t=2", "-holders=alice,bob"), want: 1},
		{name: "holders-one-has-given", args: rekey(nonceFlag, "KEY1"), answers: script(givenBy(), "", ok(givenBy("alice")))},
		{name: "holders-two-have-given", args: rekey(nonceFlag, "KEY2"),
			answers: script(givenBy("alice"), "", ok(givenBy("alice", "bob")))},
		{name: "holders-status", args: rekey("-status"), answers: script(givenBy("alice", "share 3"), "")},
		{name: "holders-status-json", args: rekey("-status", "-format=json"),
			answers: script(givenBy("alice", "share 3"), "")},
		{name: "holders-one-shot", args: rekey("-n=2", "-t=2", "-holders=dora,emil", "-"), stdin: "K1\nK2\nK3\n",
			answers: script(rekeyIdle, givenBy(), ok(givenBy("alice")), ok(givenBy("alice", "bob")), ok(rekeyDone))},
		{name: "holders-init-server", args: []string{"operator", "init", "-recovery-shares=3", "-recovery-threshold=2",
			"-holders=alice,bob,carol"},
			answers: map[string][]answer{"GET sys/seal-status": {ok(freshHSM)}, "PUT sys/init": {ok(hsmInit)}}},
		{name: "holders-init-server-too-many",
			args:    []string{"operator", "init", "-recovery-shares=2", "-recovery-threshold=2", "-holders=alice,bob,carol"},
			want:    1,
			answers: map[string][]answer{"GET sys/seal-status": {ok(freshHSM)}}},
		{name: "init-not-printed", args: []string{"operator", "init"}, unread: true, want: 1,
			answers: map[string][]answer{"GET sys/seal-status": {ok(freshHSM)}, "PUT sys/init": {ok(hsmInit)}}},
		{name: "age-recipients", args: rekey("-init", "-n=2", "-t=2", "-pgp-keys="+age+",HOME/bob.txt"),
			files:   map[string]string{"bob.txt": "# bob\n" + age + "\n"},
			answers: script(rekeyIdle, rekeyPGP)},
		{name: "age-secret", args: rekey("-init", "-n=1", "-t=1", "-pgp-keys=HOME/key.txt"), want: 1, secret: "SECRET-KEY-1",
			files: map[string]string{"key.txt": "# public key: " + age + "\nAGE-SECRET-KEY-1QQQ\n"}},
		{name: "age-two-in-a-file", args: rekey("-init", "-n=1", "-t=1", "-pgp-keys=HOME/all.txt"), want: 1,
			files: map[string]string{"all.txt": age + "\n" + age + "\n"}},
		{name: "age-init", args: []string{"operator", "init", "-n=1", "-t=1", "-pgp-keys=" + age, "-root-token-pgp-key=" +
			age},
			answers: map[string][]answer{"GET sys/seal-status": {ok(fresh)}, "PUT sys/init": {ok(shamirInit)}}},
	})
}

func TestRotateKeys(t *testing.T) {
	const (
		idle = `{"started":false,"t":0,"n":0,"required":2}`
		runs = `{"nonce":"` + theNonce +
			`","started":true,"t":2,"n":2,"progress":1,"required":2,"verification_required":false,"verification_nonce":""}`
		done = `{"nonce":"` + theNonce +
			`","complete":true,"keys":["01aa","02bb"],"keys_base64":["Aao=","Ars="],"pgp_fingerprints":null,"backup":false,"verification_required":false,"verification_nonce":""}`
		atOnce   = `{"complete":true,"t":1,"n":1,"keys":["01aa"],"keys_base64":["Aao="],"pgp_fingerprints":null,"backup":false,"verification_required":false,"verification_nonce":""}`
		toVerify = `{"nonce":"` + theNonce +
			`","complete":true,"keys":["01aa"],"keys_base64":["Aao="],"pgp_fingerprints":null,"backup":false,"verification_required":true,"verification_nonce":"` + verifyNonce + `"}`
		verify0  = `{"nonce":"` + verifyNonce + `","started":true,"t":2,"n":2,"progress":0}`
		verify1  = `{"nonce":"` + verifyNonce + `","started":true,"t":2,"n":2,"progress":1,"holders_given":["dora"]}`
		verified = `{"nonce":"` + verifyNonce + `","complete":true}`
	)
	args := func(more ...string) []string { return append([]string{"operator", "rotate-keys"}, more...) }
	script := func(get, put string, updates ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(unsealedHSM)},
			"GET sys/rotate/recovery/init": {ok(inData(get))},
			"PUT sys/rotate/recovery/init": {ok(inData(put))}, "PUT sys/rotate/recovery/update": updates,
			"PUT sys/rotate/recovery/acknowledge": {{204, ""}}}
	}
	verification := func(answers ...answer) map[string][]answer {
		return map[string][]answer{"GET sys/rotate/root/verify": {ok(inData(verify0))},
			"PUT sys/rotate/root/verify": answers, "DELETE sys/rotate/root/verify": answers}
	}
	runAll(t, []run{
		{name: "rotate-keys-init", args: args("-init", "-n=2", "-t=2", "-verify"), answers: script(idle, runs)},
		{name: "rotate-keys-status", args: args("-status", "-target=recovery"), answers: script(runs, "")},
		{name: "rotate-keys-status-idle", args: args("-status", "-target=hsm"), answers: script(idle, "")},
		{name: "rotate-keys-status-json", args: args("-status", "-target=recovery", "-format=json"),
			answers: script(runs, "")},
		{name: "rotate-keys-cancel", args: args("-cancel", "-target=barrier", nonceFlag),
			answers: map[string][]answer{"DELETE sys/rotate/root/init": {{204, ""}}}},
		{name: "rotate-keys-share", args: args("-target=recovery"), typed: []string{"hunter2"}, secret: "hunter2",
			answers: script(runs, "", ok(inData(runs)))},
		{name: "rotate-keys-last", args: args("-target=recovery", nonceFlag, "KEY2"),
			answers: script(runs, "", ok(inData(done)))},
		{name: "rotate-keys-last-json", args: args("-target=recovery", nonceFlag, "-format=json", "KEY2"),
			answers: script(runs, "", ok(inData(done)))},
		{name: "rotate-keys-one-shot", args: args("-target=recovery", "-n=2", "-t=2", "-"), stdin: "KEY1\nKEY2\n",
			answers: script(idle, runs, ok(inData(runs)), ok(inData(done)))},
		{name: "rotate-keys-no-recovery-shares-yet", args: args("-init", "-target=recovery", "-n=1", "-t=1"),
			answers: script(idle, atOnce)},
		{name: "rotate-keys-no-recovery-shares-unread", args: args("-init", "-target=recovery", "-n=1", "-t=1"),
			unread: true, want: 1, answers: script(idle, atOnce)},
		{name: "rotate-keys-denied", args: args("-status", "-target=recovery"), want: 2,
			answers: map[string][]answer{"GET sys/rotate/recovery/init": {refusal(403, "permission denied")}}},
		{name: "rotate-keys-no-data", args: args("-status", "-target=recovery"), want: 2,
			answers: map[string][]answer{"GET sys/rotate/recovery/init": {ok(`{"errors":[]}`)}}},
		{name: "rotate-keys-backup-retrieve", args: args("-backup-retrieve", "-target=recovery"),
			answers: map[string][]answer{
				"GET sys/rotate/recovery/backup": {
					ok(inData(`{"nonce":"7d0b","keys":{"e9286d":["01aa"]},"keys_base64":{"e9286d":["Aao="]}}`))}}},
		{name: "rotate-keys-backup-none", args: args("-backup-retrieve", "-target=barrier"), want: 2,
			answers: map[string][]answer{
				"GET sys/rotate/root/backup": {refusal(400, "no backed-up keys found")}}},
		{name: "rotate-keys-backup-delete", args: args("-backup-delete", "-target=barrier"),
			answers: map[string][]answer{"DELETE sys/rotate/root/backup": {{204, ""}}}},
		{name: "rotate-keys-to-verify", args: args("-target=barrier", nonceFlag, "KEY2"), answers: map[string][]answer{
			"GET sys/seal-status": {ok(unsealed)}, "GET sys/rotate/root/init": {ok(inData(runs))},
			"PUT sys/rotate/root/update":      {ok(inData(toVerify))},
			"PUT sys/rotate/root/acknowledge": {{204, ""}}, "GET sys/rotate/root/verify": {ok(inData(verify0))}}},
		{name: "rotate-keys-verify-status-json", args: args("-verify", "-status", "-target=barrier", "-format=json"),
			answers: verification()},
		{name: "rotate-keys-verify-one", args: args("-verify", "-target=barrier", "-nonce="+verifyNonce, "NEW1"),
			answers: verification(ok(inData(verify1)))},
		{name: "rotate-keys-verify-all", args: args("-verify", "-target=barrier", "-nonce="+verifyNonce, "@HOME/new"),
			files:   map[string]string{"new": "NEW1\nNEW2\n"},
			answers: verification(ok(inData(verify1)), ok(inData(verified)))},
		{name: "rotate-keys-verify-json", args: args("-verify", "-target=barrier", "-nonce="+verifyNonce, "NEW2",
			"-format=json"), answers: verification(ok(inData(verified)))},
		{name: "rotate-keys-verify-lost", args: args("-verify", "-target=barrier", "-nonce="+verifyNonce, "NEW1"),
			answers: verification(lost, refusal(400, "given key has already been provided during this verify operation"))},
		{name: "rotate-keys-verify-restart-json", args: args("-verify", "-cancel", "-target=barrier", "-format=json"),
			answers: verification(ok(inData(verify0)))},
		{name: "rotate-keys-verify-no-nonce", args: args("-verify", "-target=barrier", "NEW1"), want: 1,
			answers: verification()},
	})
}
