package v1

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/ceremonies"
	"github.com/sealgate/sealgate/internal/limits"
)

// Two sets of paths, one machine.

func TestWhatOneFaceStartsTheOtherContinues(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":3}`).RecoveryKeys
	all, pgp := custodians(t, "alice", "bob")
	for _, order := range [][2]string{{"sys/rekey-recovery-key/", "sys/rotate/recovery/"},
		{"sys/rotate/recovery/", "sys/rekey-recovery-key/"}} {
		one, other := order[0], order[1]
		begun := w.ask("PUT", one+"init", body("secret_shares", 2, "secret_threshold", 2, "pgp_keys", pgp, "backup", true,
			"require_verification", true))
		for _, path := range order[:] {
			a := w.do("PUT", path+"init", `{"secret_shares":1,"secret_threshold":1}`)
			if a.Code != 400 || !strings.Contains(a.Body.String(), "already in progress") {
				t.Errorf("a second one by %s: %d %s", path, a.Code, a.Body)
			}
		}
		seen := w.ask("GET", other+"init", "")
		if seen.Nonce != begun.Nonce || !seen.Started || !slices.Equal(seen.PGPFingerprints,
			[]string{all[0].fingerprint, all[1].fingerprint}) {
			t.Errorf("%s shows %+v of what %s started", other, seen, one)
		}
		var done reply
		for i, k := range keys {
			if done = w.ask("PUT", order[i%2]+"update", share(k, begun.Nonce)); done.Complete != (i == len(keys)-1) {
				t.Fatalf("share %d by %s: %+v", i+1, order[i%2], done)
			}
		}
		// The reply was lost; the same share by the other path gets it again.
		again := w.ask("PUT", other+"update", share(keys[len(keys)-1], begun.Nonce))
		if !slices.Equal(again.Keys, done.Keys) || again.VerificationNonce != done.VerificationNonce {
			t.Errorf("the last share again by %s: %+v, not %+v", other, again, done)
		}
		fresh := []string{all[0].read(t, done.Keys[0]), all[1].readBase64(t, done.KeysBase64[1])}
		w.ask("PUT", one+"verify", share(fresh[0], done.VerificationNonce))
		if last := w.ask("PUT", other+"verify", share(fresh[1], done.VerificationNonce)); !last.Complete {
			t.Errorf("verification: %+v", last)
		}
		keys = fresh
		a, b := w.do("GET", "sys/rekey/recovery-key-backup", ""), w.do("GET", "sys/rotate/recovery/backup", "")
		if a.Code != 200 || normal(a.Body.String()) != normal(b.Body.String()) ||
			!strings.Contains(a.Body.String(), done.Keys[1]) || !strings.Contains(a.Body.String(), done.KeysBase64[0]) {
			t.Errorf("backups: %s\n%s", a.Body, b.Body)
		}
	}
}

func TestBarrierAndRecoveryRunSideBySide(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	barrier := w.ask("PUT", "sys/rekey/init", `{"secret_shares":1,"secret_threshold":1}`).Nonce
	recovery := w.ask("PUT", "sys/rotate/recovery/init", `{"secret_shares":3,"secret_threshold":2}`).Nonce
	root := w.ask("PUT", "sys/generate-root/attempt", `{}`)
	w.ask("PUT", "sys/rotate/root/update", share(keys[0], barrier))
	w.ask("PUT", "sys/rekey-recovery-key/update", share(keys[1], recovery))
	w.ask("PUT", "sys/generate-root-token/update", share(keys[0], root.Nonce))
	if r := w.ask("PUT", "sys/rekey/update", share(keys[1], barrier)); !r.Complete || len(r.Keys) != 0 {
		t.Errorf("the barrier's: %+v", r)
	}
	done := w.ask("PUT", "sys/generate-root/update", share(keys[1], root.Nonce))
	token := w.do("PUT", "sys/decode-token", body("encoded_token", done.EncodedToken, "otp", root.OTP))
	var decoded struct{ Data struct{ Token string } }
	w.decode(token, &decoded)
	w.expect("the new root token", w.do("GET", "sys/mounts", "", "X-Vault-Token", decoded.Data.Token), 200, "")
	if r := w.ask("PUT", "sys/rekey-recovery-key/update", share(keys[0], recovery)); !r.Complete || len(r.Keys) != 3 {
		t.Errorf("the recovery's: %+v", r)
	}
}

func TestACancelByOneFaceIsSeenByTheOther(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, pair := range [][2]string{
		{"sys/rekey/", "sys/rotate/root/"}, {"sys/rekey-recovery-key/", "sys/rotate/recovery/"},
		{"sys/rotate/root/", "sys/rekey/"},
	} {
		nonce := w.ask("PUT", pair[0]+"init", `{"secret_shares":2,"secret_threshold":2}`).Nonce
		w.expect("cancel by "+pair[1]+" without a token", w.do("DELETE", pair[1]+"init", "", "X-Vault-Token", ""), 403,
			refusal("permission denied"))
		if a := w.do("DELETE", pair[1]+"init", body("nonce", api.NewUUID())); a.Code != 400 ||
			!strings.Contains(a.Body.String(), "incorrect nonce supplied") {
			t.Errorf("cancel of another: %d %s", a.Code, a.Body)
		}
		w.expect("cancel by "+pair[1], w.do("DELETE", pair[1]+"init", body("nonce", nonce)), 204, "")
		if r := w.ask("GET", pair[0]+"init", ""); r.Started {
			t.Errorf("%s continues", pair[0])
		}
		w.expect("cancel of nothing", w.do("DELETE", pair[0]+"init", ""), 204, "")
	}
}

// TestFirstRecoveryShares: no shares are needed to make the first, so the answer to the start
// has them. Clients of the older path would not show them: there nothing is made.
func TestFirstRecoveryShares(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	w.init(`{"recovery_shares":0,"recovery_threshold":0}`)
	a := w.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`)
	if a.Code != 400 || !strings.Contains(a.Body.String(), "sys/rotate/recovery/init") {
		t.Errorf("by the older path: %d %s", a.Code, a.Body)
	}
	for _, path := range []string{"sys/rekey/init", "sys/rotate/root/init", "sys/generate-root/attempt",
		"sys/generate-root-token/attempt"} {
		if a := w.do("PUT", path, `{"secret_shares":1,"secret_threshold":1}`); a.Code != 400 {
			t.Errorf("%s without any shares: %d %s", path, a.Code, a.Body)
		}
	}
	a = w.do("POST", "sys/rotate/recovery/init", `{"secret_shares":2,"secret_threshold":2,"holders":["alice","bob"]}`)
	const want = `"data":{"backup":false,"complete":true,"keys":["SHARE IN HEX","SHARE IN HEX"],"keys_base64":["SHARE ` +
		`IN BASE64","SHARE IN BASE64"],` +
		`"n":2,"pgp_fingerprints":null,"t":2,"verification_nonce":"","verification_required":false}`
	if a.Code != 200 || !strings.Contains(normal(a.Body.String()), want) {
		t.Fatalf("%d %s", a.Code, normal(a.Body.String()))
	}
	var r struct{ Data reply }
	w.decode(a, &r)
	var proof ceremonies.ProofAnswer
	w.decode(w.do("PUT", "sys/recovery/prove", body("key", r.Data.KeysBase64[1]), "X-Vault-Token", ""), &proof)
	if proof != (ceremonies.ProofAnswer{Proven: true, Target: "recovery", Generation: 1, Number: 2, Name: "bob"}) {
		t.Errorf("%+v", proof)
	}
}

// TestFirstRecoverySharesVerified: with verification they count only once they are proven.
func TestFirstRecoverySharesVerified(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	w.init(`{"recovery_shares":0,"recovery_threshold":0}`)
	r := w.ask("POST", "sys/rotate/recovery/init", `{"secret_shares":2,"secret_threshold":2,"require_verification":true}`)
	if !r.Complete || r.VerificationNonce == "" || len(r.Keys) != 2 {
		t.Fatalf("%+v", r)
	}
	if a := w.do("PUT", "sys/recovery/prove", body("key", r.Keys[0])); a.Code != 400 {
		t.Errorf("it counts before it is verified: %d %s", a.Code, a.Body)
	}
	w.ask("PUT", "sys/rotate/recovery/verify", share(r.Keys[0], r.VerificationNonce))
	if v := w.ask("PUT", "sys/rekey-recovery-key/verify", share(r.Keys[1], r.VerificationNonce)); !v.Complete {
		t.Errorf("%+v", v)
	}
	w.expect("prove", w.do("PUT", "sys/recovery/prove", body("key", r.Keys[0])), 200, "")
}

func TestInitEncryptsToKeys(t *testing.T) {
	t.Parallel()
	all, pgp := custodians(t, "alice", "bob", "carol")
	w := newHarness(t, shamirSeal(t))
	for what, bad := range map[string]string{
		"count":        body("secret_shares", 3, "secret_threshold", 2, "pgp_keys", pgp[:2]),
		"damaged":      body("secret_shares", 1, "secret_threshold", 1, "pgp_keys", []string{"AAAA"}),
		"root's":       body("secret_shares", 1, "secret_threshold", 1, "root_token_pgp_key", "AAAA"),
		"holder names": body("secret_shares", 2, "secret_threshold", 2, "holders", []string{"alice"}),
	} {
		a := w.do("PUT", "sys/init", bad)
		if a.Code != 400 {
			t.Errorf("%s: %d %s", what, a.Code, a.Body)
		}
	}
	w.expect("after bad keys", w.do("GET", "sys/init", ""), 200, `{"initialized":false}`)
	a := w.do("PUT", "sys/init", body("secret_shares", 2, "secret_threshold", 2, "pgp_keys", pgp[:2],
		"root_token_pgp_key", pgp[2],
		"holders", []string{"alice", "bob"}))
	var r struct {
		Keys       []string `json:"keys"`
		KeysBase64 []string `json:"keys_base64"`
		RootToken  string   `json:"root_token"`
	}
	w.decode(a, &r)
	if a.Code != 200 || len(r.Keys) != 2 || len(r.KeysBase64) != 2 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	w.unseal(all[0].read(t, r.Keys[0]), all[1].readBase64(t, r.KeysBase64[1]))
	w.token = all[2].readBase64(t, r.RootToken)
	a = w.do("GET", "sys/recovery/holders", "")
	if a.Code != 200 || !strings.Contains(a.Body.String(), `"barrier":{`) ||
		!strings.Contains(a.Body.String(), `"name":"bob"`) {
		t.Errorf("holders: %d %s", a.Code, a.Body)
	}
}

func TestInitEncryptsRecoveryShares(t *testing.T) {
	t.Parallel()
	all, pgp := custodians(t, "alice", "bob")
	w := newHarness(t, autoSeal(t))
	r := w.init(body("recovery_shares", 2, "recovery_threshold", 2, "recovery_pgp_keys", pgp))
	for i, p := range all {
		w.expect("prove", w.do("PUT", "sys/recovery/prove", body("key", p.read(t, r.RecoveryKeys[i]))), 200, "")
	}
}

// TestWhoMayStartAndCancelGenerateRoot: any client may start, since all tokens may be lost. The
// nonce is no secret, so a client without a token needs a share to cancel.
func TestWhoMayStartAndCancelGenerateRoot(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2,"holders":["alice","bob"]}`).RecoveryKeys
	const path = "sys/generate-root/attempt"
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	for _, token := range []string{"", "s.000000000000000000000000", weak} {
		begun := w.ask("PUT", path, `{}`, "X-Vault-Token", token)
		for what, tc := range map[string]struct {
			body string
			code int
		}{
			"nothing": {"", 403}, "the nonce": {body("nonce", begun.Nonce), 403}, "an empty nonce": {`{"nonce":""}`, 403},
			"a wrong share": {body("nonce", begun.Nonce, "key", stranger), 400}, "no share": {body("key", "!"), 400},
			"another nonce": {body("nonce", api.NewUUID(), "key", keys[0]), 400},
		} {
			if a := w.do("DELETE", path, tc.body, "X-Vault-Token", token); a.Code != tc.code {
				t.Errorf("started by %q, cancelled with %s: %d %s, want %d", token, what, a.Code, a.Body, tc.code)
			}
		}
		w.expect("cancel with a share", w.do("DELETE", path, body("key", keys[1]), "X-Vault-Token", token), 204, "")
		w.ask("PUT", path, `{}`, "X-Vault-Token", token)
		w.expect("cancel with a token", w.do("DELETE", path, ""), 204, "")
	}
	begun := w.ask("PUT", path, `{}`)
	w.expect("cancel with the nonce", w.do("DELETE", path, body("nonce", begun.Nonce), "X-Vault-Token", ""), 403, "")
	w.ask("PUT", "sys/generate-root/update", share(keys[0], begun.Nonce), "X-Vault-Token", "")
	w.expect("cancel with a token", w.do("DELETE", path, body("nonce", begun.Nonce)), 204, "")
	w.expect("nothing to cancel", w.do("DELETE", path, "", "X-Vault-Token", ""), 204, "")
}

// TestAnonymousGenerateRootIsHarmless: clients without token and share cannot fill the transcript,
// block a quorum, or learn who has given a share.
func TestAnonymousGenerateRootIsHarmless(t *testing.T) {
	t.Parallel()
	clock := &tick{t: moment}
	w := newHarnessAt(t, autoSeal(t), clock.now)
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2,"holders":["alice","bob"]}`).RecoveryKeys
	const path, update = "sys/generate-root/attempt", "sys/generate-root/update"
	anonymous := []string{"X-Vault-Token", ""}
	for range 3 {
		w.ask("PUT", path, `{}`, anonymous...)
		clock.add(9 * time.Minute)
		w.expect("a second attempt", w.do("PUT", path, `{}`, anonymous...), 400, "")
		clock.add(time.Minute) // without a share the first one has expired
	}
	begun := w.ask("PUT", path, `{}`, anonymous...)
	byToken := w.ask("PUT", path, `{}`)
	if byToken.Nonce == begun.Nonce {
		t.Error("an idle attempt does not give way to a start with a token")
	}
	w.expect("anonymous start over one with a token", w.do("PUT", path, `{}`, anonymous...), 400, "")
	w.expect("cancel", w.do("DELETE", path, ""), 204, "")
	w.expect("no record is left but that of the token's", w.do("GET", "sys/recovery/transcripts", ""), 200, "")
	var list struct{ Data struct{ Keys []string } }
	if w.decode(w.do("GET", "sys/recovery/transcripts", ""), &list); len(list.Data.Keys) != 1 {
		t.Errorf("records: %q, want one", list.Data.Keys)
	}
	begun = w.ask("PUT", path, `{}`, anonymous...)
	w.ask("PUT", update, share(keys[0], begun.Nonce), anonymous...)
	w.expect("a start with a token over shares", w.do("PUT", path, `{}`), 400, "")
	clock.add(30 * time.Minute)
	if a := w.do("GET", path, "", anonymous...); strings.Contains(a.Body.String(), "alice") ||
		!strings.Contains(a.Body.String(), `"progress":1`) {
		t.Errorf("shown without a token: %s", a.Body)
	}
	if a := w.do("GET", path, ""); !strings.Contains(a.Body.String(), `"holders_given":["alice"]`) {
		t.Errorf("shown with a token: %s", a.Body)
	}
	if done := w.ask("PUT", update, share(keys[1], begun.Nonce), anonymous...); !done.Complete {
		t.Errorf("half an hour after the first share: %+v", done)
	}
}

// TestStartsWithoutATokenAreLimited by address; a token is not limited, nor is another address.
func TestStartsWithoutATokenAreLimited(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const path = "sys/generate-root/attempt"
	start := func(address, token string) int {
		r := w.request("PUT", "/v1/"+path, "{}", "X-Vault-Token", token)
		r.RemoteAddr = address
		return w.send(r).Code
	}
	for range limits.StartBurst {
		start("198.51.100.7:1", "")
	}
	if code := start("198.51.100.7:2", ""); code != 429 {
		t.Errorf("one too many: %d", code)
	}
	if code := start("198.51.100.8:1", ""); code != 400 {
		t.Errorf("another address: %d, want 400: one is in progress", code)
	}
	if code := start("198.51.100.7:3", w.token); code != 200 {
		t.Errorf("with a token: %d", code)
	}
}

// TestPagesOfOtherOriginsStartNothing: a browser sends a simple POST of any page without asking.
func TestPagesOfOtherOriginsStartNothing(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, tc := range []struct {
		origin, kind, token string
		code                int
	}{
		{"https://evil.example", "text/plain", "", 403}, {"https://evil.example", "", "", 403},
		{"null", "text/plain", "", 403},
		{"https://evil.example", "application/x-www-form-urlencoded", "", 403},
		{"https://evil.example", "application/json", "", 200}, // a browser asks first, and is refused
		{"http://example.com", "text/plain", "", 200},         // httptest's own host
		{"", "text/plain", "", 200}, {"https://evil.example", "text/plain", w.token, 200},
	} {
		for _, path := range []string{"sys/generate-root/attempt", "sys/unseal"} {
			given := `{}`
			if path == "sys/unseal" {
				given = `{"reset":true}`
			}
			header := []string{"X-Vault-Token", tc.token, "Content-Type", tc.kind, "Origin", tc.origin}
			if tc.origin == "" {
				header = header[:4]
			}
			if a := w.do("POST", path, given, header...); (a.Code == 403) != (tc.code == 403) {
				t.Errorf("%s from %q as %q: %d %s, want %d", path, tc.origin, tc.kind, a.Code, a.Body, tc.code)
			}
		}
		w.expect("cancel", w.do("DELETE", "sys/generate-root/attempt", ""), 204, "")
	}
	w.expect("OPTIONS", w.do("OPTIONS", "sys/generate-root/attempt", "", "Origin", "https://evil.example"), 405, "")
}

// TestListenersWithoutTheOlderPaths: what is switched off is answered as OpenBao does, and the
// paths with tokens stay.
func TestListenersWithoutTheOlderPaths(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) { c.DisableUnauthRekey, c.DisableUnauthRoot = true, true })
	off := map[string]int{
		"sys/rekey/": http.StatusMethodNotAllowed, "sys/rekey-recovery-key/": http.StatusNotFound,
		"sys/generate-root/": http.StatusMethodNotAllowed,
	}
	for _, r := range table.Routes {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "sys/"), "/")
		code := off["sys/"+first+"/"]
		if code == 0 || r.Path == "sys/rekey/backup" || r.Path == "sys/rekey/recovery-key-backup" {
			continue
		}
		for _, m := range r.Methods {
			if a := w.do(m, r.Path, "{}"); a.Code != code || !strings.Contains(a.Body.String(), "unsupported") {
				t.Errorf("%s %s: %d %s", m, r.Path, a.Code, a.Body)
			}
		}
	}
	for _, path := range []string{"sys/rotate/root/init", "sys/rotate/recovery/init", "sys/generate-root-token/attempt"} {
		w.expect(path, w.do("GET", path, ""), 200, "")
		w.expect(path, w.do("PUT", path, `{"secret_shares":1,"secret_threshold":1}`), 200, "")
	}
	w.expect("the backup's path", w.do("GET", "sys/rekey/backup", ""), 400, refusal("no backed-up keys found"))
}

func TestCeremoniesAreNotInNamespaces(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, path := range []string{"sys/rekey/init", "sys/rekey-recovery-key/verify", "sys/generate-root/attempt"} {
		a := w.do("GET", path, "", "X-Vault-Namespace", "team")
		w.expect(path, a, 400, refusal("operation unavailable in namespaces"))
	}
}

// TestAFaceIsNeverMistakenForTheOther: the answers of a bare path have no envelope, and those of
// the others nothing beside it.
func TestAFaceIsNeverMistakenForTheOther(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for path, enveloped := range map[string]bool{
		"sys/rekey/init": false, "sys/rekey-recovery-key/init": false, "sys/generate-root/attempt": false,
		"sys/rotate/root/init": true, "sys/rotate/recovery/init": true, "sys/generate-root-token/attempt": true,
	} {
		var members map[string]any
		w.decode(w.do("GET", path, ""), &members)
		_, data := members["data"]
		_, started := members["started"]
		if data != enveloped || started == enveloped {
			t.Error(fmt.Sprint(path, " has the members ", members))
		}
	}
}
