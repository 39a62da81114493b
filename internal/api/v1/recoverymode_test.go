package v1

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	chain "github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// rescue starts a server in recovery mode on a harness's storage.
func (w *harness) rescue(seal seals.Seal) *harness {
	w.t.Helper()
	set, err := seals.NewSet([]seals.Seal{seal}, seals.Options{Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	log := &safeBuffer{}
	mode, err := node.NewRecovery(node.Config{Store: w.store, StorageType: "inmem", Seals: set, Now: now,
		Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		w.t.Fatal(err)
	}
	r := &harness{t: w.t, store: w.store, log: log}
	r.api = NewRecovery(api.Config{Now: now, Log: slog.New(slog.NewTextHandler(r.log, nil))}, mode)
	w.t.Cleanup(func() {
		if err := mode.Close(w.t.Context()); err != nil {
			w.t.Log(err) // the test's context has ended
		}
	})
	return r
}

// recover gives shares until there is a token, and uses it from then on.
func (w *harness) recover(keys ...string) {
	w.t.Helper()
	begun := w.ask("PUT", "sys/generate-recovery-token/attempt", `{}`)
	if len(begun.OTP) != 28 || begun.OTPLength != 28 {
		w.t.Fatalf("the one-time password: %+v", begun)
	}
	var done reply
	for _, k := range keys {
		done = w.ask("PUT", "sys/generate-recovery-token/update", share(k, begun.Nonce))
	}
	token, err := recovery.DecodeToken(done.EncodedToken, begun.OTP)
	if err != nil || !done.Complete || !strings.HasPrefix(token, "hvr.") {
		w.t.Fatalf("%+v, %v", done, err)
	}
	w.token = token
}

func TestRecoveryModeServesNothingElse(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	r := w.rescue(autoSeal(t))
	for _, path := range []string{
		"sys/health", "sys/seal-status", "sys/init", "sys/unseal", "sys/leader", "sys/mounts", "secret/a", "sys", "",
		"sys/rekey/init", "sys/raw/",
		"sys/generate-recovery-token", "sys/generate-recovery-token/attempt/x", "sys/generate-root/attempt", "sys/rawx",
		"auth/token/lookup-self",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
			if path == "sys/raw/" {
				continue
			}
			a := r.do(method, path, "{}")
			if a.Code != 404 || a.Body.String() != "404 page not found\n" {
				t.Errorf("%s %s: %d %q", method, path, a.Code, a.Body)
			}
		}
	}
	if a := r.send(r.request("GET", "/", "")); a.Code != 404 || a.Body.String() != "404 page not found\n" {
		t.Errorf("/: %d %q", a.Code, a.Body)
	}
}

func TestRecoveryModeNeedsItsToken(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	r := w.rescue(autoSeal(t))
	refused := func(when string, tokens ...string) {
		for _, token := range tokens {
			for _, method := range []string{"GET", "PUT", "DELETE", "LIST"} {
				a := r.do(method, "sys/raw/core/mounts", `{"value":"x"}`, "X-Vault-Token", token)
				r.expect(when+": "+method+" with "+token, a, 403, empty)
			}
		}
	}
	refused("before there is a token", "", "hvr.", w.token, "hvr.000000000000000000000000")
	begun := r.ask("PUT", "sys/generate-recovery-token/attempt", `{}`)
	refused("while it is made", "", begun.Nonce)
	r.ask("DELETE", "sys/generate-recovery-token/attempt", "")
	r.recover(keys...)
	refused("after", "", w.token, r.token[:27], r.token+"0", strings.ToLower(r.token)+"x")
	r.expect("a read", r.do("GET", "sys/raw/core/mounts?encoding=base64", ""), 200, "")
	r.expect("by the other header", r.do("LIST", "sys/raw", "", "X-Vault-Token", "", "Authorization", "Bearer "+r.token),
		200, "")
	for method, path := range map[string]string{"GET": "attempt", "PUT": "attempt"} {
		a := r.do(method, "sys/generate-recovery-token/"+path, "")
		r.expect("another attempt", a, 400, refusal("attempted to generate recovery operation token when already unsealed"))
	}
	r.discreet(append(keys, r.token, begun.Nonce)...)
}

func TestRecoveryModeBodies(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	w.expect("write", w.do("PUT", "secret/a", `{"x":"y"}`), 204, "")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	r := w.rescue(autoSeal(t))
	s := &transcript{w: r}
	const path = "sys/generate-recovery-token/"
	s.do("GET", path+"attempt", "")
	s.do("PUT", path+"update", share(keys[0], "x"))
	s.do("PUT", path+"attempt", `{"otp":"short"}`)
	s.do("POST", path+"attempt", `{"otp":"`+strings.Repeat("o", 28)+`"}`)
	nonce := r.nonce(path + "attempt")
	s.do("PUT", path+"attempt", `{}`)
	s.do("PUT", path+"update", share("abcd", nonce))
	s.do("PUT", path+"update", share(keys[0], "x"))
	s.do("PUT", path+"update", share(stranger, nonce))
	s.do("PUT", path+"update", share(keys[0], nonce))
	s.do("PUT", path+"update", share(keys[0], nonce))
	done := s.ask("PUT", path+"update", share(keys[1], nonce))
	token, err := recovery.DecodeToken(done.EncodedToken, strings.Repeat("o", 28))
	if err != nil {
		t.Fatal(err)
	}
	r.token = token
	s.do("GET", path+"attempt", "")
	s.do("LIST", "sys/raw", "")
	s.do("GET", "sys/raw?list=true", "")
	s.do("LIST", "sys/raw/core", "")
	s.do("LIST", "sys/raw/nowhere", "")
	s.do("GET", "sys/raw/nowhere", "")
	s.do("GET", "sys/raw/core/mounts", "")
	s.do("GET", "sys/raw/core/mounts?encoding=rot13", "")
	s.do("GET", "sys/raw/core/keyring", "")
	s.do("PUT", "sys/raw/core/keyring", `{"value":"x"}`)
	s.do("DELETE", "sys/raw/core/keyring", "")
	s.do("PUT", "sys/raw/fixed", `{"value":"x"}`)
	s.do("PUT", "sys/raw/fixed", `{"value":"x","compression_type":"gzip"}`)
	s.do("PUT", "sys/raw/fixed", `{"compression_type":""}`)
	s.do("PUT", "sys/raw/fixed", `{"value":"***","encoding":"base64","compression_type":""}`)
	s.do("PUT", "sys/raw/fixed", `{"value":"x","compression_type":"none"}`)
	s.do("PUT", "sys/raw/fixed", `{"value":"`+base64.StdEncoding.EncodeToString([]byte("\xff\x00"))+
		`","encoding":"base64"}`)
	s.do("GET", "sys/raw/fixed", "")
	s.do("GET", "sys/raw/fixed?encoding=base64", "")
	s.do("PUT", "sys/raw/fixed", `{"value":"text"}`)
	s.do("GET", "sys/raw/fixed", "")
	s.do("DELETE", "sys/raw/fixed", "")
	s.do("GET", "sys/raw/fixed", "")
	s.do("DELETE", "sys/raw/fixed", "")
	s.do("PATCH", "sys/raw/fixed", "")
	s.do("GET", "sys/raw/../x", "")
	golden(t, "recovery-mode.txt", s.b.String())
}

// TestRecoveryModeUnderShamir: under a Shamir seal the unseal shares give the token, and open the
// storage with it.
func TestRecoveryModeUnderShamir(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":3,"secret_threshold":2}`).Keys
	r := w.rescue(shamirSeal(t))
	r.recover(keys[2], keys[0])
	a := r.do("LIST", "sys/raw/core", "")
	if a.Code != 200 || !strings.Contains(a.Body.String(), `"mounts"`) {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// TestCancelInRecoveryModeTakesAShare once there is one: an anonymous client ends no quorum's work.
func TestCancelInRecoveryModeTakesAShare(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	r := w.rescue(autoSeal(t))
	const path = "sys/generate-recovery-token/"
	nonce := r.ask("PUT", path+"attempt", `{}`).Nonce
	r.ask("PUT", path+"update", share(keys[0], nonce))
	for what, given := range map[string]string{"nothing": "", "the nonce": body("nonce", nonce)} {
		r.expect("cancel with "+what, r.do("DELETE", path+"attempt", given), 403, "")
	}
	r.expect("cancel with a wrong share", r.do("DELETE", path+"attempt", body("key", stranger)), 400, "")
	if s := r.ask("GET", path+"attempt", ""); s.Progress != 1 {
		t.Errorf("the attempt was ended: %+v", s)
	}
	r.expect("cancel with a share", r.do("DELETE", path+"attempt", body("key", keys[1])), 204, "")
}

// TestWrongSharesAreLimitedInRecoveryMode, too.
func TestWrongSharesAreLimitedInRecoveryMode(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	r := w.rescue(autoSeal(t))
	nonce := r.ask("PUT", "sys/generate-recovery-token/attempt", `{}`).Nonce
	var last *httptest.ResponseRecorder
	for range limits.AddressBurst + 1 {
		last = r.from("198.51.100.7:1", "sys/generate-recovery-token/update", share(stranger, nonce))
	}
	r.expect("one too many", last, http.StatusTooManyRequests, "")
	r.expect("a right one", r.from("198.51.100.7:1", "sys/generate-recovery-token/update", share(keys[0], nonce)), 200, "")
}

// TestRecoveryModeIsRecorded: the quorum that made the token is in the transcript, which continues
// from there; and a damaged transcript does not keep from repairing the rest.
func TestRecoveryModeIsRecorded(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.authorize("restore")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	w.rescue(autoSeal(t)).recover(w.keys[:2]...)
	for _, key := range w.keys[:2] {
		w.expect("unseal", w.do("PUT", "sys/unseal", body("key", key)), 200, "")
	}
	w.authorize("restore")
	records := w.do("LIST", "sys/recovery/transcripts", "").Body.String()
	if !strings.Contains(records, `"00000001-authorize-restore","00000002-recovery-token","00000003-authorize-restore"`) {
		t.Errorf("the transcript: %s", records)
	}
	var export struct{ Data json.RawMessage }
	w.decode(w.do("GET", "sys/recovery/transcript", ""), &export)
	if report, err := chain.VerifyFile(bytes.NewReader(export.Data), nil, nil); err != nil || !report.OK() {
		t.Errorf("the chain: %+v, %v", report, err)
	}
	w = unsealed(t)
	w.authorize("restore")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	if err := w.store.Store.Commit(t.Context(), storage.Batch{
		Ops: []storage.Op{storage.Put("core/transcript/head", []byte("damaged"))}}); err != nil {
		t.Fatal(err)
	}
	r := w.rescue(autoSeal(t))
	r.recover(w.keys[:2]...)
	if !strings.Contains(r.log.String(), "the transcript is damaged") {
		t.Errorf("the log does not have the ceremony: %s", r.log)
	}
}
