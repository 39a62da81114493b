package v1

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/recovery"

	bao "github.com/openbao/openbao/api/v2"
)

// OpenBao's SDK, unmodified: every call of it that concerns rotation and generate-root.

// rotateCalls are the calls of one target.
type rotateCalls struct {
	status        func() (*bao.RotateStatusResponse, error)
	init          func(*bao.RotateInitRequest) (*bao.RotateStatusResponse, error)
	update        func(share, nonce string) (*bao.RotateUpdateResponse, error)
	cancel        func() error
	verifyStatus  func() (*bao.RotateVerificationStatusResponse, error)
	verifyUpdate  func(share, nonce string) (*bao.RotateVerificationUpdateResponse, error)
	verifyRestart func() error
	backup        func() (*bao.RotateRetrieveResponse, error)
	deleteBackup  func() error
}

func TestBaoClientRotatesTheBarrier(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":3,"secret_threshold":2}`).Keys
	w.unseal(keys[:2]...)
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	s := c.Sys()
	fresh := rotateAsBao(t, rotateCalls{
		s.RotateRootStatus, s.RotateRootInit, s.RotateRootUpdate, s.RotateRootCancel, s.RotateRootVerificationStatus,
		s.RotateRootVerificationUpdate, s.RotateRootVerificationCancel, s.RotateRootRetrieveBackup, s.RotateRootDeleteBackup,
	}, keys)
	ok(t, "Seal", s.Seal())
	w.unseal(fresh...)
}

func TestBaoClientRotatesTheRecoveryShares(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":3,"recovery_threshold":2}`).RecoveryKeys
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	s := c.Sys()
	fresh := rotateAsBao(t, rotateCalls{
		s.RotateRecoveryStatus, s.RotateRecoveryInit, s.RotateRecoveryUpdate, s.RotateRecoveryCancel,
		s.RotateRecoveryVerificationStatus,
		s.RotateRecoveryVerificationUpdate, s.RotateRecoveryVerificationCancel, s.RotateRecoveryRetrieveBackup,
		s.RotateRecoveryDeleteBackup,
	}, keys)
	for _, k := range fresh {
		w.expect("prove", w.do("PUT", "sys/recovery/prove", body("key", k)), 200, "")
	}
}

// rotateAsBao goes through all that a target's calls can do, and returns the new shares.
func rotateAsBao(t *testing.T, c rotateCalls, keys []string) []string {
	t.Helper()
	if st, err := c.status(); err != nil || st.Started || st.Required != 2 || st.Nonce != "" {
		t.Errorf("status of nothing: %+v, %v", st, err)
	}
	all, pgp := custodians(t, "alice", "bob")
	req := &bao.RotateInitRequest{SecretShares: 2, SecretThreshold: 2, PGPKeys: pgp, Backup: true,
		RequireVerification: true}
	_, err := c.init(req)
	ok(t, "init", err)
	ok(t, "cancel", c.cancel())
	st, err := c.init(req)
	ok(t, "init", err)
	if !st.Started || !st.Backup || !st.VerificationRequired || len(st.PGPFingerprints) != 2 || st.T != 2 ||
		st.N != 2 || st.Required != 2 {
		t.Errorf("init: %+v", st)
	}
	if r, err := c.update(keys[0], st.Nonce); err != nil || r.Complete {
		t.Fatalf("update: %+v, %v", r, err)
	}
	if st, err := c.status(); err != nil || st.Progress != 1 {
		t.Errorf("status: %+v, %v", st, err)
	}
	r, err := c.update(keys[1], st.Nonce)
	if err != nil || !r.Complete || !r.VerificationRequired || r.VerificationNonce == "" || len(r.Keys) != 2 || !r.Backup {
		t.Fatalf("update: %+v, %v", r, err)
	}
	fresh := []string{all[0].read(t, r.Keys[0]), all[1].readBase64(t, r.KeysB64[1])}
	verifyAsBao(t, c, fresh, r.VerificationNonce)
	b, err := c.backup()
	if err != nil || b.Nonce != st.Nonce || len(b.Keys) != 2 || b.KeysB64[all[0].fingerprint][0] != r.KeysB64[0] {
		t.Errorf("backup: %+v, %v", b, err)
	}
	ok(t, "delete the backup", c.deleteBackup())
	if _, err := c.backup(); err == nil || !strings.Contains(err.Error(), "no backed-up keys found") {
		t.Errorf("backup after it was deleted: %v", err)
	}
	return fresh
}

func verifyAsBao(t *testing.T, c rotateCalls, fresh []string, nonce string) {
	t.Helper()
	if st, err := c.verifyStatus(); err != nil || st.Nonce != nonce || !st.Started || st.T != 2 ||
		st.N != 2 || st.Progress != 0 {
		t.Errorf("verification status: %+v, %v", st, err)
	}
	_, err := c.verifyUpdate(fresh[1], nonce)
	ok(t, "verify", err)
	ok(t, "restart the verification", c.verifyRestart())
	st, err := c.verifyStatus()
	if err != nil || st.Nonce == nonce || st.Progress != 0 {
		t.Fatalf("verification status: %+v, %v", st, err)
	}
	for i, k := range fresh {
		if v, err := c.verifyUpdate(k, st.Nonce); err != nil || v.Complete != (i == 1) {
			t.Errorf("verify: %+v, %v", v, err)
		}
	}
}

// TestBaoClientMakesTheFirstRecoveryShares: they are in the answer to the start.
func TestBaoClientMakesTheFirstRecoveryShares(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	w.init(`{}`)
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	st, err := c.Sys().RotateRecoveryInit(&bao.RotateInitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil || !st.Complete || len(st.Keys) != 3 || len(st.KeysB64) != 3 || st.T != 2 ||
		st.N != 3 || st.Nonce != "" {
		t.Fatalf("RotateRecoveryInit: %+v, %v", st, err)
	}
	w.expect("prove", w.do("PUT", "sys/recovery/prove", body("key", st.KeysB64[2])), 200, "")
}

func TestBaoClientGeneratesARootToken(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	sys := c.Sys()
	st, err := sys.GenerateRootStatus()
	if err != nil || st.Started || st.OTPLength != 26 || st.Required != 2 {
		t.Fatalf("GenerateRootStatus: %+v, %v", st, err)
	}
	_, err = sys.GenerateRootInit("", "")
	ok(t, "GenerateRootInit", err)
	ok(t, "GenerateRootCancel", sys.GenerateRootCancel())
	begun, err := sys.GenerateRootInit("", "")
	ok(t, "GenerateRootInit", err)
	if _, err := sys.GenerateRootUpdate("zz", begun.Nonce); err == nil || !strings.Contains(err.Error(), "Code: 400") {
		t.Errorf("GenerateRootUpdate with no share: %v", err)
	}
	_, err = sys.GenerateRootUpdate(keys[0], begun.Nonce)
	ok(t, "GenerateRootUpdate", err)
	done, err := sys.GenerateRootUpdate(keys[1], begun.Nonce)
	if err != nil || !done.Complete {
		t.Fatalf("GenerateRootUpdate: %+v, %v", done, err)
	}
	token, err := recovery.DecodeToken(done.EncodedToken, begun.OTP)
	ok(t, "decode", err)
	c.SetToken(token)
	_, err = c.Auth().Token().LookupSelf()
	ok(t, "LookupSelf", err)
	c.ClearToken()
	if _, err := sys.GenerateRootStatus(); err == nil || !strings.Contains(err.Error(), "Code: 403") {
		t.Errorf("GenerateRootStatus without a token: %v", err)
	}
}

func TestBaoClientInRecoveryMode(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.rescue(autoSeal(t)).api))
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
	_, err = sys.GenerateRecoveryOperationTokenUpdate(keys[1], begun.Nonce)
	ok(t, "GenerateRecoveryOperationTokenUpdate", err)
	done, err := sys.GenerateRecoveryOperationTokenUpdate(keys[0], begun.Nonce)
	if err != nil || !done.Complete || done.EncodedRootToken != "" {
		t.Fatalf("GenerateRecoveryOperationTokenUpdate: %+v, %v", done, err)
	}
	token, err := recovery.DecodeToken(done.EncodedToken, begun.OTP)
	ok(t, "decode", err)
	c.SetToken(token)
	if s, err := c.Logical().List("sys/raw"); err != nil || len(s.Data["keys"].([]any)) == 0 {
		t.Errorf("List: %+v, %v", s, err)
	}
}
