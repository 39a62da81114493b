package v1

//lint:file-ignore SA1019 scripts of operators use these older calls of OpenBao's SDK

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/config"

	bao "github.com/openbao/openbao/api/v2"
)

// TestBaoClientOlderCalls: the SDK still has the calls of rekey, and its command line uses them.
func TestBaoClientOlderCalls(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	sys := c.Sys()
	st, err := sys.RekeyRecoveryKeyInit(&bao.RekeyInitRequest{SecretShares: 2, SecretThreshold: 2,
		RequireVerification: true})
	ok(t, "RekeyRecoveryKeyInit", err)
	_, err = sys.RekeyRecoveryKeyUpdate(keys[0], st.Nonce)
	ok(t, "RekeyRecoveryKeyUpdate", err)
	if again, err := sys.RekeyRecoveryKeyStatus(); err != nil || again.Progress != 1 {
		t.Errorf("RekeyRecoveryKeyStatus: %+v, %v", again, err)
	}
	r, err := sys.RekeyRecoveryKeyUpdate(keys[1], st.Nonce)
	if err != nil || !r.Complete || len(r.Keys) != 2 {
		t.Fatalf("RekeyRecoveryKeyUpdate: %+v, %v", r, err)
	}
	_, err = sys.RekeyRecoveryKeyVerificationUpdate(r.Keys[0], r.VerificationNonce)
	ok(t, "RekeyRecoveryKeyVerificationUpdate", err)
	ok(t, "RekeyRecoveryKeyVerificationCancel", sys.RekeyRecoveryKeyVerificationCancel())
	v, err := sys.RekeyRecoveryKeyVerificationStatus()
	if err != nil || v.Nonce == r.VerificationNonce || v.Progress != 0 {
		t.Fatalf("RekeyRecoveryKeyVerificationStatus: %+v, %v", v, err)
	}
	for i, k := range r.Keys {
		if u, err := sys.RekeyRecoveryKeyVerificationUpdate(k, v.Nonce); err != nil || u.Complete != (i == 1) {
			t.Errorf("RekeyRecoveryKeyVerificationUpdate: %+v, %v", u, err)
		}
	}
	_, err = sys.RekeyInit(&bao.RekeyInitRequest{SecretShares: 1, SecretThreshold: 1})
	ok(t, "RekeyInit", err)
	if b, err := sys.RekeyStatus(); err != nil || !b.Started || b.N != 0 || b.T != 0 {
		t.Errorf("RekeyStatus: %+v, %v", b, err)
	}
	ok(t, "RekeyCancel", sys.RekeyCancel())
	ok(t, "RekeyRecoveryKeyCancel", sys.RekeyRecoveryKeyCancel())
}

// TestBaoClientOlderCallsOfTheBarrier: verification and backups of the same.
func TestBaoClientOlderCallsOfTheBarrier(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	keys := w.init(`{"secret_shares":1,"secret_threshold":1}`).Keys
	w.unseal(keys...)
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	sys := c.Sys()
	alice := newPerson(t, "alice")
	st, err := sys.RekeyInit(&bao.RekeyInitRequest{
		SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{alice.key}, Backup: true, RequireVerification: true,
	})
	ok(t, "RekeyInit", err)
	r, err := sys.RekeyUpdate(keys[0], st.Nonce)
	if err != nil || !r.Complete || r.PGPFingerprints[0] != alice.fingerprint {
		t.Fatalf("RekeyUpdate: %+v, %v", r, err)
	}
	ok(t, "RekeyVerificationCancel", sys.RekeyVerificationCancel())
	v, err := sys.RekeyVerificationStatus()
	if err != nil || v.Nonce == r.VerificationNonce || v.N != 1 {
		t.Fatalf("RekeyVerificationStatus: %+v, %v", v, err)
	}
	if u, err := sys.RekeyVerificationUpdate(alice.read(t, r.Keys[0]), v.Nonce); err != nil || !u.Complete {
		t.Errorf("RekeyVerificationUpdate: %+v, %v", u, err)
	}
	if b, err := sys.RekeyRetrieveBackup(); err != nil || b.Keys[alice.fingerprint][0] != r.Keys[0] {
		t.Errorf("RekeyRetrieveBackup: %+v, %v", b, err)
	}
	ok(t, "RekeyDeleteBackup", sys.RekeyDeleteBackup())
	if _, err := sys.RekeyRetrieveRecoveryBackup(); err == nil ||
		!strings.Contains(err.Error(), "no backed-up keys found") {
		t.Errorf("RekeyRetrieveRecoveryBackup: %v", err)
	}
	ok(t, "RekeyDeleteRecoveryBackup", sys.RekeyDeleteRecoveryBackup())
}
