package v1

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/recovery"

	vault "github.com/hashicorp/vault/api"
)

// Vault's SDK, unmodified: every call of it that concerns rekey and generate-root.

// rekeyCalls are the calls of one target.
type rekeyCalls struct {
	status         func() (*vault.RekeyStatusResponse, error)
	init           func(*vault.RekeyInitRequest) (*vault.RekeyStatusResponse, error)
	update         func(share, nonce string) (*vault.RekeyUpdateResponse, error)
	cancel         func(nonce string) error
	verifyStatus   func() (*vault.RekeyVerificationStatusResponse, error)
	verifyUpdate   func(share, nonce string) (*vault.RekeyVerificationUpdateResponse, error)
	verifyRestart  func() error
	backup         func() (*vault.RekeyRetrieveResponse, error)
	deleteBackup   func() error
	otherVerifying func() (*vault.RekeyVerificationStatusResponse, error)
}

func barrierCalls(s *vault.Sys) rekeyCalls {
	return rekeyCalls{
		s.RekeyStatus, s.RekeyInit, s.RekeyUpdate, s.RekeyCancelWithNonce, s.RekeyVerificationStatus,
		s.RekeyVerificationUpdate,
		s.RekeyVerificationCancel, s.RekeyRetrieveBackup, s.RekeyDeleteBackup, s.RekeyRecoveryKeyVerificationStatus,
	}
}

func recoveryCalls(s *vault.Sys) rekeyCalls {
	return rekeyCalls{
		s.RekeyRecoveryKeyStatus, s.RekeyRecoveryKeyInit, s.RekeyRecoveryKeyUpdate, s.RekeyRecoveryKeyCancelWithNonce,
		s.RekeyRecoveryKeyVerificationStatus, s.RekeyRecoveryKeyVerificationUpdate, s.RekeyRecoveryKeyVerificationCancel,
		s.RekeyRetrieveRecoveryBackup, s.RekeyDeleteRecoveryBackup, s.RekeyVerificationStatus,
	}
}

func TestVaultClientRekeysTheBarrier(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":3,"secret_threshold":2}`).Keys
	w.unseal(keys[:2]...)
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	fresh := rekeyAsVault(t, barrierCalls(c.Sys()), keys)
	ok(t, "Seal", c.Sys().Seal())
	w.unseal(fresh...)
}

func TestVaultClientRekeysTheRecoveryShares(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":2}`).RecoveryKeys
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	fresh := rekeyAsVault(t, recoveryCalls(c.Sys()), keys)
	for _, k := range fresh {
		w.expect("prove", w.do("PUT", "sys/recovery/prove", body("key", k)), 200, "")
	}
}

// rekeyAsVault goes through all that a target's calls can do, and returns the new shares.
func rekeyAsVault(t *testing.T, c rekeyCalls, keys []string) []string {
	t.Helper()
	if st, err := c.status(); err != nil || st.Started || st.Required != 2 || st.Nonce != "" {
		t.Errorf("status of nothing: %+v, %v", st, err)
	}
	all, pgp := custodians(t, "alice", "bob")
	_, err := c.init(&vault.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2, Backup: true})
	if err == nil || !strings.Contains(err.Error(), "cannot request a backup") {
		t.Errorf("a backup without keys: %v", err)
	}
	st, err := c.init(&vault.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2, PGPKeys: pgp, Backup: true,
		RequireVerification: true})
	ok(t, "init", err)
	if !st.Started || !st.Backup || !st.VerificationRequired || len(st.PGPFingerprints) != 2 || st.T != 2 ||
		st.N != 2 || st.Required != 2 {
		t.Errorf("init: %+v", st)
	}
	if err := c.cancel(api.NewUUID()); err == nil {
		t.Error("another one could be cancelled")
	}
	ok(t, "cancel", c.cancel(st.Nonce))
	st, err = c.init(&vault.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2, PGPKeys: pgp, Backup: true,
		RequireVerification: true})
	ok(t, "init", err)
	if r, err := c.update(keys[0], st.Nonce); err != nil || r.Complete {
		t.Fatalf("update: %+v, %v", r, err)
	}
	r, err := c.update(keys[1], st.Nonce)
	if err != nil || !r.Complete || !r.VerificationRequired || r.VerificationNonce == "" ||
		len(r.Keys) != 2 || !r.Backup ||
		r.PGPFingerprints[1] != all[1].fingerprint {
		t.Fatalf("update: %+v, %v", r, err)
	}
	fresh := []string{all[0].read(t, r.Keys[0]), all[1].readBase64(t, r.KeysB64[1])}
	verifyAsVault(t, c, fresh, r.VerificationNonce)
	b, err := c.backup()
	if err != nil || b.Nonce != st.Nonce || len(b.Keys) != 2 || b.KeysB64[all[0].fingerprint][0] != r.KeysB64[0] ||
		b.Keys[all[1].fingerprint][0] != r.Keys[1] {
		t.Errorf("backup: %+v, %v", b, err)
	}
	ok(t, "delete the backup", c.deleteBackup())
	var re *vault.ResponseError
	if _, err := c.backup(); !errors.As(err, &re) || re.StatusCode != 400 || re.Errors[0] != "no backed-up keys found" {
		t.Errorf("backup after it was deleted: %v", err)
	}
	return fresh
}

func verifyAsVault(t *testing.T, c rekeyCalls, fresh []string, nonce string) {
	t.Helper()
	if st, err := c.verifyStatus(); err != nil || st.Nonce != nonce || !st.Started || st.T != 2 ||
		st.N != 2 || st.Progress != 0 {
		t.Errorf("verification status: %+v, %v", st, err)
	}
	if _, err := c.otherVerifying(); err == nil {
		t.Error("the other target verifies, too")
	}
	_, err := c.verifyUpdate(fresh[0], nonce)
	ok(t, "verify", err)
	if st, err := c.verifyStatus(); err != nil || st.Progress != 1 {
		t.Errorf("verification status: %+v, %v", st, err)
	}
	ok(t, "restart the verification", c.verifyRestart())
	st, err := c.verifyStatus()
	if err != nil || st.Nonce == nonce || st.Progress != 0 {
		t.Fatalf("verification status: %+v, %v", st, err)
	}
	for i, k := range fresh {
		if v, err := c.verifyUpdate(k, st.Nonce); err != nil || v.Complete != (i == 1) || v.Nonce != st.Nonce {
			t.Errorf("verify: %+v, %v", v, err)
		}
	}
}

// TestVaultClientCancelOfTheRecoveryRekey: the SDK's call without a nonce goes to the barrier's
// path. It ends nothing of the recovery target's, and does not pretend to have.
func TestVaultClientCancelOfTheRecoveryRekey(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	sys := c.Sys()
	st, err := sys.RekeyRecoveryKeyInit(&vault.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2})
	ok(t, "RekeyRecoveryKeyInit", err)
	ok(t, "RekeyRecoveryKeyCancel", sys.RekeyRecoveryKeyCancel())
	if again, err := sys.RekeyRecoveryKeyStatus(); err != nil || again.Nonce != st.Nonce {
		t.Errorf("RekeyRecoveryKeyStatus: %+v, %v", again, err)
	}
	ok(t, "RekeyRecoveryKeyCancelWithNonce", sys.RekeyRecoveryKeyCancelWithNonce(st.Nonce))
	ok(t, "RekeyCancel", sys.RekeyCancel())
}

func TestVaultClientGeneratesARootToken(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	sys := c.Sys() // without a token
	st, err := sys.GenerateRootStatus()
	if err != nil || st.Started || st.OTPLength != 26 || st.Required != 2 {
		t.Fatalf("GenerateRootStatus: %+v, %v", st, err)
	}
	otp, err := recovery.NewOTP(st.OTPLength, nil)
	ok(t, "NewOTP", err)
	_, err = sys.GenerateRootInit(otp, "")
	ok(t, "GenerateRootInit", err)
	if err := sys.GenerateRootCancel(); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("GenerateRootCancel without a token: %v", err)
	}
	c.SetToken(w.token)
	ok(t, "GenerateRootCancel", sys.GenerateRootCancel())
	c.ClearToken()
	alice := newPerson(t, "alice")
	for _, tc := range []struct {
		otp, key string
		decode   func(string) (string, error)
	}{
		{otp, "", func(s string) (string, error) { return recovery.DecodeToken(s, otp) }},
		{"", alice.key, func(s string) (string, error) { return alice.readBase64(t, s), nil }},
	} {
		begun, err := sys.GenerateRootInit(tc.otp, tc.key)
		ok(t, "GenerateRootInit", err)
		if (begun.PGPFingerprint == alice.fingerprint) != (tc.key != "") || begun.OTP != "" {
			t.Errorf("GenerateRootInit: %+v", begun)
		}
		_, err = sys.GenerateRootUpdate(keys[0], begun.Nonce)
		ok(t, "GenerateRootUpdate", err)
		done, err := sys.GenerateRootUpdate(keys[1], begun.Nonce)
		if err != nil || !done.Complete || done.EncodedRootToken != done.EncodedToken {
			t.Fatalf("GenerateRootUpdate: %+v, %v", done, err)
		}
		token, err := tc.decode(done.EncodedToken)
		ok(t, "decode", err)
		root, err := c.Clone()
		ok(t, "Clone", err)
		root.SetToken(token)
		if s, err := root.Auth().Token().LookupSelf(); err != nil || s.Data["path"] != "auth/token/root" ||
			s.Data["display_name"] != "root" {
			t.Errorf("LookupSelf: %+v, %v", s, err)
		}
	}
}

func TestVaultClientInRecoveryMode(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.rescue(autoSeal(t)).api))
	sys := c.Sys()
	st, err := sys.GenerateRecoveryOperationTokenStatus()
	if err != nil || st.OTPLength != 28 {
		t.Fatalf("GenerateRecoveryOperationTokenStatus: %+v, %v", st, err)
	}
	_, err = sys.GenerateRecoveryOperationTokenInit("", "")
	ok(t, "GenerateRecoveryOperationTokenInit", err)
	ok(t, "GenerateRecoveryOperationTokenCancel", sys.GenerateRecoveryOperationTokenCancel())
	begun, err := sys.GenerateRecoveryOperationTokenInit("", "")
	ok(t, "GenerateRecoveryOperationTokenInit", err)
	var done *vault.GenerateRootStatusResponse
	for _, k := range keys {
		done, err = sys.GenerateRecoveryOperationTokenUpdate(k, begun.Nonce)
		ok(t, "GenerateRecoveryOperationTokenUpdate", err)
	}
	token, err := recovery.DecodeToken(done.EncodedToken, begun.OTP)
	ok(t, "decode", err)
	c.SetToken(token)
	_, err = c.Logical().Write("sys/raw/fixed", map[string]any{"value": "x", "compression_type": ""})
	ok(t, "Write", err)
	if s, err := c.Logical().Read("sys/raw/fixed"); err != nil || s.Data["value"] != "x" {
		t.Errorf("Read: %+v, %v", s, err)
	}
	if s, err := c.Logical().List("sys/raw/core"); err != nil || len(s.Data["keys"].([]any)) == 0 {
		t.Errorf("List: %+v, %v", s, err)
	}
	_, err = c.Logical().Delete("sys/raw/fixed")
	ok(t, "Delete", err)
}
