package v1

import (
	"net/http"
	"strings"
	"testing"
)

// Every ceremony by both faces, body for body in golden files.

// reply is what tests read of any answer, whichever the face.
type reply struct {
	Nonce             string   `json:"nonce"`
	VerificationNonce string   `json:"verification_nonce"`
	Complete          bool     `json:"complete"`
	Started           bool     `json:"started"`
	Progress          int      `json:"progress"`
	Keys              []string `json:"keys"`
	KeysBase64        []string `json:"keys_base64"`
	PGPFingerprints   []string `json:"pgp_fingerprints"`
	HoldersGiven      []string `json:"holders_given"`
	EncodedToken      string   `json:"encoded_token"`
	OTP               string   `json:"otp"`
	OTPLength         int      `json:"otp_length"`
}

// ask makes a request that must succeed, and reads its answer, enveloped or not.
func (w *harness) ask(method, path, body string, header ...string) (r reply) {
	w.t.Helper()
	a := w.do(method, path, body, header...)
	if a.Code == http.StatusNoContent {
		return r
	}
	if a.Code != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, a.Code, a.Body)
	}
	var envelope struct {
		Data *reply `json:"data"`
	}
	w.decode(a, &envelope)
	if envelope.Data != nil {
		return *envelope.Data
	}
	w.decode(a, &r)
	return r
}

// askLogged is ask for a transcript.
func (s *transcript) ask(method, path, body string, header ...string) (r reply) {
	s.w.t.Helper()
	var envelope struct {
		Data *reply `json:"data"`
	}
	a := s.do(method, path, body, header...)
	if a.Code != http.StatusOK {
		s.w.t.Fatalf("%s %s: %d %s", method, path, a.Code, a.Body)
	}
	s.w.decode(a, &envelope)
	if envelope.Data != nil {
		return *envelope.Data
	}
	s.w.decode(a, &r)
	return r
}

func share(key, nonce string) string { return body("key", key, "nonce", nonce) }

var stranger = strings.Repeat("ab", 32) + "07" // a share of no share set

func TestBodiesOfRotationUnderAnAutoSeal(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":2,"holders":["alice","bob","carol"]}`).RecoveryKeys
	s := &transcript{w: w}
	const path = "sys/rotate/recovery/"
	s.do("GET", path+"init", "")
	s.do("GET", path+"verify", "")
	s.do("PUT", path+"update", share(keys[0], "x"))
	s.do("PUT", path+"verify", share(keys[0], "x"))
	s.do("POST", path+"init", `{"secret_shares":0,"secret_threshold":0}`)
	s.do("POST", path+"init", `{"secret_shares":2,"secret_threshold":2,"pgp_keys":"a,b"}`)
	s.do("POST", path+"init", `{"secret_shares":"two"}`)
	s.do("POST", path+"init", `{"secret_shares":1,"secret_threshold":1,"pgp_keys":["keybase:somebody"]}`)
	s.do("POST", path+"init", `{"secret_shares":2,"secret_threshold":2,"holders":["dave"]}`)
	nonce := s.ask("POST", path+"init",
		`{"secret_shares":"2","secret_threshold":2,"require_verification":true,"backup":true,"holders":["dave","erin"]}`).Nonce
	s.do("POST", path+"init", `{"secret_shares":2,"secret_threshold":2}`)
	s.do("PUT", path+"update", `{"nonce":"x"}`)
	s.do("PUT", path+"update", body("key", keys[0]))
	s.do("PUT", path+"update", share("zz", nonce))
	s.do("PUT", path+"update", share("abcd", nonce))
	s.do("PUT", path+"update", share(keys[0], "x"))
	s.do("PUT", path+"update", share(stranger, nonce))
	s.do("PUT", path+"update", share(keys[2], nonce))
	s.do("PUT", path+"update", share(keys[2], nonce))
	s.do("GET", path+"init", "")
	fresh := s.ask("PUT", path+"update", share(keys[0], nonce))
	s.do("GET", path+"init", "")
	s.do("PUT", path+"update", share(keys[1], nonce))
	s.do("GET", path+"verify", "")
	s.do("PUT", path+"verify", share(fresh.Keys[0], "x"))
	s.do("PUT", path+"verify", share(keys[0], fresh.VerificationNonce))
	s.do("PUT", path+"verify", share(fresh.Keys[0], fresh.VerificationNonce))
	s.do("PUT", path+"verify", share(fresh.Keys[0], fresh.VerificationNonce))
	again := s.ask("DELETE", path+"verify", "")
	if again.Nonce == fresh.VerificationNonce || again.Nonce == "" {
		t.Error("restarting the verification did not make a new nonce")
	}
	s.do("PUT", path+"verify", share(fresh.Keys[1], again.Nonce))
	s.do("PUT", path+"verify", share(fresh.Keys[0], again.Nonce))
	s.do("GET", path+"init", "")
	s.do("GET", path+"backup", "")
	s.do("DELETE", path+"backup", "")
	s.do("GET", "sys/recovery/holders", "")
	s.do("PUT", "sys/recovery/prove", body("key", fresh.Keys[1]), "X-Vault-Token", "")
	s.do("PUT", "sys/recovery/prove", body("key", keys[1]), "X-Vault-Token", "")
	s.do("PUT", "sys/recovery/prove", body("key", stranger))
	s.do("PUT", "sys/recovery/prove", `{}`)
	_, pgp := custodians(t, "alice")
	a := w.do("POST", "sys/rotate/root/init", body("secret_shares", 1, "secret_threshold", 1, "pgp_keys", pgp))
	w.expect("PGP for the barrier of an auto seal", a, 400,
		refusal("PGP key encryption not supported when using stored keys"))
	a = w.do("POST", "sys/rekey/init", body("secret_shares", 1, "secret_threshold", 1, "pgp_keys", pgp))
	w.expect("PGP for the barrier of an auto seal", a, 400,
		refusal("PGP key encryption not supported when rekeying the barrier key with recovery keys"))
	s.do("POST", "sys/rekey/init", `{"secret_shares":1,"secret_threshold":1,"pgp_keys":["a"]}`)
	s.do("POST", "sys/rotate/root/init", `{"secret_shares":5,"secret_threshold":3,"require_verification":true}`)
	s.do("GET", "sys/rotate/root/init", "")
	root := s.ask("POST", "sys/rotate/root/init", `{"secret_shares":5,"secret_threshold":3}`).Nonce
	s.do("PUT", "sys/rotate/root/update", share(fresh.Keys[0], root))
	s.do("PUT", "sys/rotate/root/update", share(fresh.Keys[1], root))
	s.do("DELETE", "sys/rotate/root/init", "")
	s.do("POST", "sys/rotate/root", "")
	s.do("POST", "sys/sealwrap/rewrap", "")
	golden(t, "rotate-auto-seal.txt", s.b.String())
	w.discreet(nonce, fresh.VerificationNonce, again.Nonce, root, keys[0], keys[1], keys[2], fresh.Keys[0],
		fresh.Keys[1], stranger)
}

func TestBodiesOfRotationUnderShamir(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":2,"secret_threshold":2}`).Keys
	w.unseal(keys...)
	s := &transcript{w: w}
	s.do("GET", "sys/rotate/recovery/init", "")
	s.do("POST", "sys/rotate/recovery/init", `{"secret_shares":1,"secret_threshold":1}`)
	s.do("POST", "sys/sealwrap/rewrap", "")
	all, pgp := custodians(t, "alice", "bob")
	nonce := s.ask("POST", "sys/rotate/root/init", body("secret_shares", 2, "secret_threshold", 2, "pgp_keys", pgp,
		"backup", true)).Nonce
	s.do("GET", "sys/rotate/root/init", "")
	s.do("PUT", "sys/rotate/root/update", share(keys[0], nonce))
	done := s.ask("PUT", "sys/rotate/root/update", share(keys[1], nonce))
	s.do("GET", "sys/rotate/root/backup", "")
	s.do("GET", "sys/rekey/backup", "")
	s.do("PUT", "sys/rotate/root/acknowledge", `{}`)
	s.do("PUT", "sys/rotate/root/acknowledge", share(keys[0], nonce))
	s.do("PUT", "sys/rotate/root/acknowledge", share(keys[1], nonce))
	s.do("PUT", "sys/rotate/root/update", share(keys[1], nonce))
	s.do("DELETE", "sys/rotate/root/backup", "")
	s.do("GET", "sys/rekey/backup", "")
	golden(t, "rotate-shamir.txt", pgpless(s.b.String(), all, done))
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	w.unseal(all[0].read(t, done.Keys[0]), all[1].readBase64(t, done.KeysBase64[1]))
}

// pgpless makes what is different in each run the same: fingerprints and messages.
func pgpless(text string, all []*person, done reply) string {
	for i, p := range all {
		who := p.entity.PrimaryIdentity().UserId.Name
		text = strings.ReplaceAll(text, p.key, "PUBLIC KEY OF "+who)
		text = strings.ReplaceAll(text, p.fingerprint, "FINGERPRINT OF "+who)
		text = strings.ReplaceAll(text, done.Keys[i], "MESSAGE IN HEX TO "+who)
		text = strings.ReplaceAll(text, done.KeysBase64[i], "MESSAGE IN BASE64 TO "+who)
	}
	return text
}

// unseal gives shares until the node is unsealed.
func (w *harness) unseal(keys ...string) {
	w.t.Helper()
	var st struct {
		Sealed bool `json:"sealed"`
	}
	for _, k := range keys {
		w.decode(w.do("PUT", "sys/unseal", body("key", k)), &st)
	}
	if st.Sealed {
		w.t.Fatalf("still sealed after %d shares", len(keys))
	}
}

func TestBodiesOfGenerateRoot(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":2}`).RecoveryKeys
	for _, face := range []struct{ path, file string }{
		{"sys/generate-root/", "generate-root.txt"}, {"sys/generate-root-token/", "generate-root-token.txt"},
	} {
		s := &transcript{w: w}
		s.do("GET", face.path+"attempt", "")
		s.do("PUT", face.path+"update", share(keys[0], "x"))
		s.do("PUT", face.path+"attempt", `{"otp":"short"}`)
		s.do("PUT", face.path+"attempt", `{"pgp_key":"no key"}`)
		s.do("PUT", face.path+"attempt", `{"otp":7,"pgp_key":[]}`)
		begun := s.ask("PUT", face.path+"attempt", `{}`)
		s.do("PUT", face.path+"attempt", `{}`)
		s.do("GET", face.path+"attempt", "")
		s.do("PUT", face.path+"update", `{"nonce":"x"}`)
		s.do("PUT", face.path+"update", body("key", keys[0]))
		s.do("PUT", face.path+"update", share("zz", begun.Nonce))
		s.do("PUT", face.path+"update", share("abcd", begun.Nonce))
		s.do("PUT", face.path+"update", share(keys[0], "x"))
		s.do("PUT", face.path+"update", share(stranger, begun.Nonce))
		s.do("PUT", face.path+"update", share(keys[0], begun.Nonce))
		s.do("PUT", face.path+"update", share(keys[0], begun.Nonce))
		done := s.ask("PUT", face.path+"update", share(keys[1], begun.Nonce))
		s.do("GET", face.path+"attempt", "")
		s.do("PUT", face.path+"update", share(keys[1], begun.Nonce))
		s.do("PUT", face.path+"acknowledge", share(keys[1], begun.Nonce))
		s.do("PUT", face.path+"acknowledge", share(keys[1], begun.Nonce))
		s.do("DELETE", face.path+"attempt", "")
		s.do("POST", "sys/decode-token", body("encoded_token", done.EncodedToken, "otp", begun.OTP), "X-Vault-Token", "")
		s.do("POST", "sys/decode-token", body("encoded_token", done.EncodedToken, "otp", "short"))
		s.do("POST", "sys/decode-token", body("encoded_token", "***", "otp", begun.OTP))
		s.do("POST", "sys/decode-token", `{}`)
		golden(t, face.file, s.b.String())
		w.discreet(begun.Nonce, begun.OTP, done.EncodedToken, keys[0], keys[1], stranger)
	}
}
