package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wrongShare has the form of a share, and is none.
var wrongShare = strings.Repeat("ab", 33)

type given struct {
	Key   string `json:"key"`
	Nonce string `json:"nonce"`
}

// begun is the nonce of a ceremony that must start.
func (r *harness) begun(path string, body any) string {
	r.t.Helper()
	var bare struct {
		Nonce string
		Data  struct{ Nonce string }
	}
	r.decode(r.must(200, "PUT", path, body), &bare)
	nonce := bare.Nonce + bare.Data.Nonce
	if nonce == "" {
		r.t.Fatalf("%s started without a nonce", path)
	}
	r.known.add("a nonce", nonce)
	return nonce
}

var twoOfThree = map[string]any{"secret_shares": 3, "secret_threshold": 2}

// Kept, the other way round: Vault's clients know no other paths, so they are there unless the
// listener takes them away; then they answer as they do elsewhere, 405, and 404 below
// rekey-recovery-key, with a token or without. Starting needs a token.
func TestTrap01LegacyRoutesCanBeOff(t *testing.T) {
	t.Parallel()
	on := hsmTrapHarness.enterAlone(t)
	on.as("").must(200, "GET", "sys/rekey/init", nil)
	on.as("").must(200, "GET", "sys/generate-root/attempt", nil)
	on.as("").must(403, "PUT", "sys/rekey-recovery-key/init", twoOfThree)
	on.must(200, "PUT", "sys/rekey-recovery-key/init", twoOfThree)

	r := newStaticHarness(t)
	config, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	const off = "tls_disable = true\n  disable_unauthed_rekey_endpoints = true\n  " +
		"disable_unauthed_generate_root_endpoints = true"
	if err := r.WriteConfig(strings.Replace(string(config), "tls_disable = true", off, 1)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	for _, who := range []*harness{r, r.as("")} {
		for _, path := range []string{"sys/rekey/init", "sys/rekey/verify", "sys/generate-root/attempt"} {
			who.must(405, "GET", path, nil)
		}
		for _, path := range []string{"sys/rekey/update", "sys/generate-root/update"} {
			who.must(405, "PUT", path, given{wrongShare, "x"})
		}
		who.must(404, "GET", "sys/rekey-recovery-key/init", nil)
	}
	r.must(200, "GET", "sys/rotate/recovery/init", nil)
	r.must(200, "GET", "sys/generate-root-token/attempt", nil)
}

// Fixed: everything is checked before anything is written, so a bad key for the root token costs
// nothing.
func TestTrap02BadRootTokenKeyAtInit(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.mustStart()
	body := map[string]any{"secret_shares": 1, "secret_threshold": 1, "root_token_pgp_key": "bm8ga2V5"}
	r.refused(400, "PUT", "sys/init", body, "invalid root token configuration")
	if r.status().Initialized {
		t.Fatal("a refused initialisation left something behind")
	}
	delete(body, "root_token_pgp_key")
	r.must(200, "PUT", "sys/init", body)
}

// Kept for unseal, rekey and generate-root, whose clients send a share again after a lost reply.
// Fixed for the verification of a rotation: a share given twice is refused and does not count.
func TestTrap03DuplicateShares(t *testing.T) {
	t.Parallel()
	custodians := newShamirHarness(t)
	custodians.mustStart()
	var out initReply
	custodians.decode(custodians.must(200, "PUT", "sys/init", map[string]int{"secret_shares": 3, "secret_threshold": 2}),
		&out)
	for range 2 {
		custodians.must(200, "PUT", "sys/unseal", map[string]string{"key": out.Keys[0]})
		if st := custodians.status(); st.Progress != 1 || !st.Sealed {
			t.Fatalf("the same share twice: %+v", st)
		}
	}

	r := hsmTrapHarness.enterAlone(t)
	shares := hsmTrapHarness.shares
	root := r.begun("sys/generate-root/attempt", map[string]any{})
	r.must(200, "PUT", "sys/generate-root/update", given{shares[0], root})
	r.refused(400, "PUT", "sys/generate-root/update", given{shares[0], root},
		"given key has already been provided during this generation operation")
	verified := map[string]any{"secret_shares": 3, "secret_threshold": 2, "require_verification": true}
	nonce := r.begun("sys/rotate/recovery/init", verified)
	r.must(200, "PUT", "sys/rotate/recovery/update", given{shares[0], nonce})
	r.refused(400, "PUT", "sys/rotate/recovery/update", given{shares[0], nonce},
		"given key has already been provided during this rotation")
	r.refused(400, "PUT", "sys/rekey-recovery-key/update", given{shares[0], nonce},
		"given key has already been provided during this rekey operation")
	fresh, verification := r.lastShare("sys/rotate/recovery/update", given{shares[1], nonce})
	for _, path := range []string{"sys/rotate/recovery/verify", "sys/rekey-recovery-key/verify"} {
		_ = r.call("PUT", path, given{fresh[0], verification})
		r.refused(400, "PUT", path, given{fresh[0], verification},
			"given key has already been provided during this verify operation")
	}
	if got := r.data(200, "GET", "sys/rotate/recovery/verify", nil); got["progress"] != 1.0 ||
		got["nonce"] != verification {
		t.Errorf("after shares given twice: %v", got)
	}
}

// lastShare gives the share that completes a rotation, and returns the new shares and the nonce of
// their verification.
func (r *harness) lastShare(path string, g given) (keys []string, verification string) {
	r.t.Helper()
	var done struct {
		Data struct {
			Complete bool
			Keys     []string
			Nonce    string `json:"verification_nonce"`
		}
	}
	r.decode(r.must(200, "PUT", path, g), &done)
	if !done.Data.Complete {
		r.t.Fatalf("%s: not complete", path)
	}
	for _, key := range done.Data.Keys {
		r.known.addShare(key)
	}
	return done.Data.Keys, done.Data.Nonce
}

// Fixed: a client's mistake is a 400 on both faces, in words without Go's formatting. A 500 would
// be repeated by every SDK.
func TestTrap04MistakesAreNoServerErrors(t *testing.T) {
	t.Parallel()
	r := shamirHarness.enterAlone(t)
	artefact := regexp.MustCompile(`%!|&\{`)
	for _, tc := range []struct {
		body  map[string]any
		words string
	}{
		{map[string]any{"secret_shares": 0, "secret_threshold": 0}, "shares must be at least one"},
		{map[string]any{"secret_shares": 2, "secret_threshold": 3}, "threshold cannot be larger than shares"},
		{map[string]any{"secret_shares": 256, "secret_threshold": 2}, "shares must be less than 256"},
		{map[string]any{"secret_shares": 1, "secret_threshold": 1, "pgp_keys": []string{"bm8ga2V5"}}, "PGP key"},
	} {
		for _, path := range []string{"sys/rekey/init", "sys/rotate/root/init"} {
			r.refused(400, "PUT", path, tc.body, tc.words)
			if text := r.call("PUT", path, tc.body).Errors(); artefact.MatchString(text) {
				t.Errorf("%s: %s", path, text)
			}
		}
	}
	r.refused(400, "PUT", "sys/rekey-recovery-key/init", twoOfThree, "recovery")
	r.refused(400, "PUT", "sys/rotate/recovery/init", twoOfThree, "recovery")
}

// Fixed: no error shows a nonce (every harness checks every error for it), and what is refused in a
// verification leaves its nonce. No client reads the nonce out of an error.
func TestTrap05NoncesStaySecret(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enterAlone(t)
	shares := hsmTrapHarness.shares
	root := r.begun("sys/generate-root/attempt", map[string]any{})
	rekey := r.begun("sys/rekey-recovery-key/init", map[string]any{"secret_shares": 3, "secret_threshold": 2,
		"require_verification": true})
	for _, path := range []string{"sys/generate-root/update", "sys/generate-root-token/update",
		"sys/rekey-recovery-key/update", "sys/rotate/recovery/update"} {
		text := r.must(400, "PUT", path, given{shares[0], "00000000-0000-4000-8000-000000000000"}).Errors()
		saysAll(t, path, text, "incorrect nonce supplied")
		if strings.Contains(text, root) || strings.Contains(text, rekey) {
			t.Errorf("%s shows the nonce: %s", path, text)
		}
	}
	r.must(200, "PUT", "sys/rotate/recovery/update", given{shares[0], rekey})
	_, verification := r.lastShare("sys/rotate/recovery/update", given{shares[2], rekey})
	r.known.add("a nonce", verification)
	r.refused(400, "PUT", "sys/rekey-recovery-key/update", given{shares[1], rekey}, "verification must be performed")
	r.refused(400, "PUT", "sys/rotate/recovery/verify", given{wrongShare, verification}, "verification failed")
	if got := r.data(200, "GET", "sys/rotate/recovery/verify", nil); got["nonce"] != verification {
		t.Errorf("a refused share changed the verification's nonce: %v", got)
	}
}

// Fixed, kept in its second half: a wrong share is refused when it is given and spoils none of the
// others; the operation and its nonce stay.
func TestTrap06WrongShareSpoilsNothing(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*trapHarness{"shamir": shamirHarness, "auto": hsmTrapHarness} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.enterAlone(t)
			rekey := r.begun("sys/rekey/init", twoOfThree)
			root := r.begun("sys/generate-root/attempt", map[string]any{})
			for path, nonce := range map[string]string{"sys/rekey/": rekey, "sys/generate-root/": root} {
				status := map[string]string{"sys/rekey/": "init", "sys/generate-root/": "attempt"}[path]
				r.must(200, "PUT", path+"update", given{s.shares[1], nonce})
				r.must(400, "PUT", path+"update", given{wrongShare, nonce})
				var st struct {
					Started  bool
					Nonce    string
					Progress int
				}
				r.decode(r.must(200, "GET", path+status, nil), &st)
				if !st.Started || st.Nonce != nonce || st.Progress != 1 {
					t.Errorf("%s after a wrong share: %+v", path, st)
				}
			}
		})
	}
}

// Kept, as both families of SDKs show these numbers: 0 of 0 on the older face, 1 of 1 on the newer,
// recovery shares authorise, and no share comes out.
func TestTrap07BarrierRekeyUnderAutoSeal(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	shares := r.mustInit()
	nonce := r.begun("sys/rekey/init", map[string]any{"secret_shares": 5, "secret_threshold": 3})
	var legacy struct{ T, N, Required int }
	r.decode(r.must(200, "GET", "sys/rekey/init", nil), &legacy)
	rotate := r.data(200, "GET", "sys/rotate/root/init", nil)
	if got, want := fmt.Sprint(legacy, rotate["t"], rotate["n"], rotate["required"]), "{0 0 3} 1 1 3"; got != want {
		t.Errorf("t, n, required: %s; want %s", got, want)
	}
	for i, share := range shares[:3] {
		var out struct {
			Complete bool
			Keys     []string
		}
		r.decode(r.must(200, "PUT", "sys/rekey/update", given{share, nonce}), &out)
		if out.Complete != (i == 2) || len(out.Keys) != 0 {
			t.Errorf("share %d: %+v", i+1, out)
		}
	}
}

// Fixed: both APIs share one ceremony. What one started the other continues, and a backup made by
// one is read by the other.
func TestTrap08TwoFacesOneMachine(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.mustStart()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{"secret_shares": 2, "secret_threshold": 2}), &out)
	r.root = out.RootToken
	for _, key := range out.Keys {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": key})
	}
	_, pgp := pgpIdentity(t)
	nonce := r.begun("sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1,
		"pgp_keys": []string{pgp}, "backup": true})
	r.refused(400, "PUT", "sys/rotate/root/init", twoOfThree, "already in progress")
	if got := r.data(200, "GET", "sys/rotate/root/init", nil); got["nonce"] != nonce {
		t.Errorf("the newer face shows %v", got)
	}
	r.must(200, "PUT", "sys/rekey/update", given{out.Keys[0], nonce})
	r.lastShare("sys/rotate/root/update", given{out.Keys[1], nonce})
	if older, newer := r.data(200, "GET", "sys/rekey/backup", nil), r.data(200, "GET", "sys/rotate/root/backup",
		nil); fmt.Sprint(older) != fmt.Sprint(newer) {
		t.Errorf("two backups: %v, %v", older, newer)
	}
	r.must(204, "DELETE", "sys/rotate/root/backup", nil)
	r.must(400, "GET", "sys/rekey/backup", nil)
}

// Kept: the SDKs of Vault and OpenBao ask for this path.
func TestTrap09PathOfTheRecoveryBackup(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	r.refused(400, "GET", "sys/rekey/recovery-key-backup", nil, "no backed-up keys found")
	r.must(204, "DELETE", "sys/rekey/recovery-key-backup", nil)
	r.must(404, "GET", "sys/rekey-recovery-key/backup", nil)
}

// Fixed: the newer face checks a share's length as the older does, at once.
func TestTrap10ShareLengths(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enterAlone(t)
	nonce := r.begun("sys/rotate/root/init", map[string]any{})
	r.refused(400, "PUT", "sys/rotate/root/update", given{"abcd", nonce}, "key is shorter than minimum 16 bytes")
	r.refused(400, "PUT", "sys/rotate/root/update", given{strings.Repeat("ab", 34), nonce},
		"key is longer than maximum 33 bytes")
	r.refused(400, "PUT", "sys/rotate/root/update", given{"no share", nonce}, "must be a valid hex or base64 string")
	if got := r.data(200, "GET", "sys/rotate/root/init", nil); got["progress"] != 0.0 {
		t.Errorf("what is no share counted: %v", got)
	}
}

// Kept: the commands of Vault and OpenBao make one-time passwords of these lengths, and decode
// base64 without padding.
func TestTrap27LengthOfOneTimePasswords(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enterAlone(t)
	var st struct {
		OTP    string
		Length int `json:"otp_length"`
		Nonce  string
	}
	r.decode(r.must(200, "PUT", "sys/generate-root/attempt", map[string]any{}), &st)
	if st.Length != 26 || len(st.OTP) != 26 {
		t.Fatalf("otp_length %d, %d characters; want 26", st.Length, len(st.OTP))
	}
	r.must(200, "PUT", "sys/generate-root/update", given{hsmTrapHarness.shares[0], st.Nonce})
	var done struct {
		Encoded string `json:"encoded_token"`
		Older   string `json:"encoded_root_token"`
	}
	r.decode(r.must(200, "PUT", "sys/generate-root/update", given{hsmTrapHarness.shares[2], st.Nonce}), &done)
	token := xor(t, done.Encoded, st.OTP)
	if done.Older != done.Encoded || strings.HasSuffix(done.Encoded, "=") || !strings.HasPrefix(token, "s.") {
		t.Error("not a token in base64 without padding")
	}
	r.as(token).must(200, "GET", "auth/token/lookup-self", nil)
	r.must(204, "POST", "auth/token/revoke", map[string]string{"token": token})
}

// xor decodes a token.
func xor(t *testing.T, encoded, otp string) string {
	t.Helper()
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != len(otp) {
		t.Fatalf("%d bytes, %v; want %d", len(raw), err, len(otp))
	}
	for i := range raw {
		raw[i] ^= otp[i]
	}
	return string(raw)
}

// Kept: recovery mode answers on three paths alone, without health, and its one-time passwords have
// 28 characters. Fixed: asking after success is a 400, no 500, and `operator generate-root
// -decode` needs no server, so it works then too.
func TestTrap28RecoveryModeIsBare(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	shares := r.mustInit()
	r.mustStop()
	r.Args = []string{"-recovery", "-config=sealgate.hcl"}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	const path = "sys/generate-recovery-token/"
	r.eventually(patience, "answering", func() bool {
		_, err := r.Do(t.Context(), "GET", path+"attempt", "", nil)
		return err == nil
	})
	for _, p := range []string{"sys/health", "sys/seal-status", "sys/generate-root/attempt", "kv/a"} {
		if reply := r.must(404, "GET", p, nil); strings.TrimSpace(string(reply.Body)) != "404 page not found" {
			t.Errorf("%s: %s", p, reply.Body)
		}
	}
	var st struct {
		OTP    string
		Nonce  string
		Length int `json:"otp_length"`
	}
	r.decode(r.must(200, "PUT", path+"attempt", map[string]any{}), &st)
	if st.Length != 28 {
		t.Errorf("otp_length %d", st.Length)
	}
	var done struct {
		Encoded string `json:"encoded_token"`
		Older   string `json:"encoded_root_token"`
	}
	for _, share := range shares[:3] {
		r.decode(r.must(200, "PUT", path+"update", given{share, st.Nonce}), &done)
	}
	token := xor(t, done.Encoded, st.OTP)
	if !strings.HasPrefix(token, "hvr.") || done.Older != "" {
		t.Errorf("a token of %d characters, encoded_root_token %q", len(token), done.Older)
	}
	r.as("s.wrong").must(403, "LIST", "sys/raw/core", nil)
	r.as(token).must(200, "LIST", "sys/raw/core", nil)
	r.refused(400, "GET", path+"attempt", nil, "already unsealed")
	out, _ := r.run(0, "", "operator", "generate-root", "-recovery-token", "-decode="+done.Encoded, "-otp="+st.OTP)
	if strings.TrimSpace(out) != token {
		t.Error("-decode does not give the token")
	}
}

// Fixed: a mistake is a 400 on this face too.
func TestTrap29GenerateRootTokenMistakes(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enterAlone(t)
	nonce := r.begun("sys/generate-root-token/attempt", map[string]any{})
	share := hsmTrapHarness.shares[0]
	r.must(200, "PUT", "sys/generate-root-token/update", given{share, nonce})
	for _, tc := range []struct {
		g     given
		words string
	}{
		{given{"", nonce}, "key is required"},
		{given{share, ""}, "nonce is required"},
		{given{"no share", nonce}, "valid hex or base64"},
		{given{"abcd", nonce}, "shorter than minimum"},
		{given{share, "another"}, "incorrect nonce"},
		{given{share, nonce}, "already been provided"},
		{given{wrongShare, nonce}, "share"},
	} {
		r.refused(400, "PUT", "sys/generate-root-token/update", tc.g, tc.words)
	}
}
