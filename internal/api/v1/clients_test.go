package v1

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/listener"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// The SDKs of Vault and OpenBao, unmodified, over the network: every call of theirs for which there
// is a route.

func vaultClient(t *testing.T, s *listener.Server) *vault.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := vault.NewClient(&vault.Config{Address: "http://" + s.Addr().String(),
		HttpClient: &http.Client{Transport: tr}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken()
	c.ClearNamespace()
	return c
}

func baoClient(t *testing.T, s *listener.Server) *bao.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := bao.NewClient(&bao.Config{Address: "http://" + s.Addr().String(), HttpClient: &http.Client{Transport: tr},
		Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken()
	c.ClearNamespace()
	return c
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestVaultClientLifecycle(t *testing.T) {
	t.Parallel()
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, newHarness(t, shamirSeal(t)).api))
	sys := c.Sys()
	if done, err := sys.InitStatus(); done || err != nil {
		t.Fatalf("InitStatus: %v, %v", done, err)
	}
	r, err := sys.Init(&vault.InitRequest{SecretShares: 3, SecretThreshold: 2})
	ok(t, "Init", err)
	if h, err := sys.Health(); err != nil || !h.Sealed || !h.Initialized || h.Version != "1.15.0+sealgate.1.2.3" {
		t.Errorf("Health: %+v, %v", h, err)
	}
	if _, err := sys.Leader(); err != nil {
		t.Errorf("Leader while sealed: %v", err)
	}
	if st, err := sys.Unseal(r.KeysB64[0]); err != nil || st.Progress != 1 || !st.Sealed {
		t.Errorf("Unseal: %+v, %v", st, err)
	}
	if st, err := sys.ResetUnsealProcess(); err != nil || st.Progress != 0 {
		t.Errorf("ResetUnsealProcess: %+v, %v", st, err)
	}
	for _, key := range r.Keys[:2] {
		_, err = sys.Unseal(key)
		ok(t, "Unseal", err)
	}
	if st, err := sys.SealStatus(); err != nil || st.Sealed || st.T != 2 || st.N != 3 || st.ClusterName == "" ||
		st.BuildDate == "" {
		t.Errorf("SealStatus: %+v, %v", st, err)
	}
	c.SetToken(r.RootToken)
	ok(t, "Seal", sys.Seal())
	if h, err := sys.Health(); err != nil || !h.Sealed {
		t.Errorf("Health: %+v, %v", h, err)
	}
}

func TestVaultClientData(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	if s, err := c.Auth().Token().LookupSelf(); err != nil || s.Data["display_name"] != "root" {
		t.Errorf("LookupSelf: %+v, %v", s, err)
	}
	ok(t, "Mount",
		c.Sys().Mount("kv1", &vault.MountInput{Type: "kv", Description: "d",
			Config: vault.MountConfigInput{DefaultLeaseTTL: "1h"}}))
	mounts, err := c.Sys().ListMounts()
	if err != nil || mounts["kv1/"] == nil || mounts["kv1/"].Type != "kv" ||
		mounts["kv1/"].Config.DefaultLeaseTTL != 3600 {
		t.Errorf("ListMounts: %v, %v", slices.Sorted(maps.Keys(mounts)), err)
	}
	_, err = c.Logical().Write("kv1/a/b", map[string]any{"x": "y"})
	ok(t, "Write", err)
	if s, err := c.Logical().Read("kv1/a/b"); err != nil || s.Data["x"] != "y" || s.LeaseDuration != 3600 ||
		s.RequestID == "" {
		t.Errorf("Read: %+v, %v", s, err)
	}
	if s, err := c.Logical().List("kv1"); err != nil || len(s.Data["keys"].([]any)) != 1 {
		t.Errorf("List: %+v, %v", s, err)
	}
	if kv, err := c.KVv1("kv1").Get(t.Context(), "a/b"); err != nil || kv.Data["x"] != "y" {
		t.Errorf("KVv1: %+v, %v", kv, err)
	}
	_, err = c.Logical().Delete("kv1/a/b")
	ok(t, "Delete", err)
	if s, err := c.Logical().Read("kv1/a/b"); s != nil || err != nil {
		t.Errorf("Read of nothing: %+v, %v", s, err)
	}
	ok(t, "Unmount", c.Sys().Unmount("kv1"))
	var re *vault.ResponseError
	if _, err := c.Logical().Write("kv1/a", map[string]any{"x": 1}); !errors.As(err, &re) || re.StatusCode != 404 {
		t.Errorf("Write to nowhere: %v", err)
	}
	c.SetToken("wrong")
	if _, err := c.Logical().Read("secret/a"); !errors.As(err, &re) || re.StatusCode != 403 {
		t.Errorf("Read with a wrong token: %v", err)
	}
}

func TestVaultClientKeys(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	shares := w.init(`{"recovery_shares":3,"recovery_threshold":2}`).RecoveryKeys
	c := vaultClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	c.SetToken(w.token)
	sys := c.Sys()
	ok(t, "Rotate", sys.Rotate())
	if st, err := sys.KeyStatus(); err != nil || st.Term != 2 || !st.InstallTime.Equal(moment) {
		t.Errorf("KeyStatus: %+v, %v", st, err)
	}
	first, err := sys.RekeyRecoveryKeyInit(&vault.RekeyInitRequest{SecretShares: 5, SecretThreshold: 3})
	ok(t, "RekeyRecoveryKeyInit", err)
	if err := sys.RekeyRecoveryKeyCancelWithNonce(api.NewUUID()); err == nil ||
		!strings.Contains(err.Error(), "incorrect nonce supplied") {
		t.Errorf("RekeyRecoveryKeyCancelWithNonce of another: %v", err)
	}
	// RekeyRecoveryKeyCancel of this SDK sends its request to sys/rekey/init, the barrier's: with a
	// nonce it does what it says.
	ok(t, "RekeyRecoveryKeyCancelWithNonce", sys.RekeyRecoveryKeyCancelWithNonce(first.Nonce))
	st, err := sys.RekeyRecoveryKeyInit(&vault.RekeyInitRequest{SecretShares: 5, SecretThreshold: 3})
	ok(t, "RekeyRecoveryKeyInit", err)
	c.ClearToken() // the holders of shares have none
	if again, err := sys.RekeyRecoveryKeyStatus(); err != nil || again.Nonce != st.Nonce ||
		again.Required != 2 || !again.Started {
		t.Errorf("RekeyRecoveryKeyStatus: %+v, %v", again, err)
	}
	if r, err := sys.RekeyRecoveryKeyUpdate(shares[0], st.Nonce); err != nil || r.Complete {
		t.Errorf("RekeyRecoveryKeyUpdate: %+v, %v", r, err)
	}
	r, err := sys.RekeyRecoveryKeyUpdate(shares[1], st.Nonce)
	if err != nil || !r.Complete || len(r.Keys) != 5 || len(r.KeysB64) != 5 {
		t.Fatalf("RekeyRecoveryKeyUpdate: %+v, %v", r, err)
	}
	raw, _ := hex.DecodeString(r.Keys[0])
	if len(raw) != 33 || base64.StdEncoding.EncodeToString(raw) != r.KeysB64[0] {
		t.Errorf("a share has %d bytes, or its two forms differ", len(raw))
	}
	if _, err := sys.RekeyInit(&vault.RekeyInitRequest{SecretShares: 1, SecretThreshold: 1}); err == nil ||
		!strings.Contains(err.Error(), "403") {
		t.Errorf("RekeyInit without a token: %v", err)
	}
}

func TestBaoClient(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	c := baoClient(t, serve(t, config.Listener{TLSDisable: true}, w.api))
	r, err := c.Sys().Init(&bao.InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	ok(t, "Init", err)
	c.SetToken(r.RootToken)
	if st, err := c.Sys().SealStatus(); err != nil || st.Sealed || !st.RecoverySeal {
		t.Errorf("SealStatus: %+v, %v", st, err)
	}
	ok(t, "RotateKeyring", c.Sys().RotateKeyring())
	ok(t, "RotateRoot", c.Sys().RotateRoot())
	if st, err := c.Sys().KeyStatus(); err != nil || st.Term != 2 {
		t.Errorf("KeyStatus: %+v, %v", st, err)
	}
	st, err := c.Sys().RotateRootInit(&bao.RotateInitRequest{SecretShares: 1, SecretThreshold: 1})
	ok(t, "RotateRootInit", err)
	for i, share := range r.RecoveryKeys[:2] {
		u, err := c.Sys().RotateRootUpdate(share, st.Nonce)
		if err != nil || u.Complete != (i == 1) || len(u.Keys) != 0 {
			t.Errorf("RotateRootUpdate: %+v, %v", u, err)
		}
	}
	_, err = c.Logical().Write("secret/a", map[string]any{"x": "y"})
	ok(t, "Write", err)
	if s, err := c.Logical().Read("secret/a"); err != nil || s.Data["x"] != "y" {
		t.Errorf("Read: %+v, %v", s, err)
	}
}
