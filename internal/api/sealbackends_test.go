package api

import (
	"encoding/json"
	"testing"
)

// TestSealBackends: Vault's members are there by their names and types, sealed or not, without a token; the rest is ours.
func TestSealBackends(t *testing.T) {
	t.Parallel()
	w := newWorld(t, autoSeal(t))
	var a struct {
		Healthy      *bool `json:"healthy"`
		FullyWrapped *bool `json:"fully_wrapped"`
		Backends     []struct {
			Name        string `json:"name"`
			Healthy     *bool  `json:"healthy"`
			Configured  *bool  `json:"configured"`
			Disabled    *bool  `json:"disabled"`
			WouldUnseal *bool  `json:"would_unseal"`
			Needed      []struct {
				KeyID string `json:"key_id"`
				For   string `json:"for"`
			} `json:"needed_keys"`
		} `json:"backends"`
	}
	read := func() {
		t.Helper()
		got := w.do("GET", "sys/seal-backend-status", "", "X-Vault-Token", "")
		if got.Code != 200 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		a.Backends = nil
		if err := json.Unmarshal(got.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Backends) != 1 || a.Healthy == nil || a.FullyWrapped == nil {
			t.Fatalf("%s", got.Body)
		}
		b := a.Backends[0]
		if b.Name != "box" || b.Healthy == nil || b.Configured == nil || !*b.Configured || b.Disabled == nil || *b.Disabled || b.WouldUnseal == nil {
			t.Fatalf("%s", got.Body)
		}
	}
	read()
	if *a.FullyWrapped || len(a.Backends[0].Needed) != 0 {
		t.Error("before the initialisation nothing is wrapped, and nothing needed")
	}
	w.init(`{"recovery_shares":1,"recovery_threshold":1}`)
	read()
	if !*a.FullyWrapped || len(a.Backends[0].Needed) != 1 || a.Backends[0].Needed[0].KeyID != "k1" || a.Backends[0].Needed[0].For != "root key" {
		t.Errorf("%+v", a)
	}
}
