package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// transitAt mounts a transit engine of the test's own, with a key.
func transitAt(t *testing.T, mount string) *harness {
	t.Helper()
	r := hsmTrapHarness.enter(t)
	r.must(204, "POST", "sys/mounts/"+mount, map[string]string{"type": "transit"})
	t.Cleanup(func() { // the test's context has ended
		if reply, err := r.Do(context.Background(), "DELETE", "sys/mounts/"+mount, r.root, nil); err != nil ||
			reply.Code != 204 {
			t.Errorf("unmounting %s: %d, %v", mount, reply.Code, err)
		}
	})
	r.must(200, "POST", mount+"/keys/k", map[string]string{})
	r.must(200, "POST", mount+"/keys/s", map[string]string{"type": "ed25519"})
	return r
}

// Kept: an encryption batch with a wrong item is 400 with its results, the others are 200.
func TestTrap23TransitBatches(t *testing.T) {
	t.Parallel()
	r := transitAt(t, "trap23")
	items := []map[string]string{{"plaintext": "YQ=="}, {"plaintext": "!"}}
	results := func(code int, path string, body any) []map[string]any {
		t.Helper()
		var out struct {
			Data struct {
				Results []map[string]any `json:"batch_results"`
			}
		}
		r.decode(r.must(code, "POST", path, body), &out)
		return out.Data.Results
	}
	got := results(400, "trap23/encrypt/k", map[string]any{"batch_input": items})
	if len(got) != 2 || got[0]["ciphertext"] == nil || got[1]["error"] != "illegal base64 data at input byte 0" {
		t.Errorf("%v", got)
	}
	results(207, "trap23/encrypt/k", map[string]any{"batch_input": items, "partial_failure_response_code": 207})
	for _, path := range []string{"rewrap/k", "sign/s", "verify/s", "hmac/k"} {
		wrong := []map[string]string{{"ciphertext": "x", "input": "!", "signature": "x"}}
		if got := results(200, "trap23/"+path, map[string]any{"batch_input": wrong}); len(got) != 1 ||
			got[0]["error"] == nil {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// Kept: to make a key answers with it, and what can be exported can be so for ever. Fixed: a backup
// that is not allowed is 400, not 500.
func TestTrap24TransitKeys(t *testing.T) {
	t.Parallel()
	r := transitAt(t, "trap24")
	if d := r.data(200, "POST", "trap24/keys/k", map[string]bool{"exportable": true}); d["exportable"] != false {
		t.Errorf("an existing key was changed: %v", d)
	}
	r.refused(400, "GET", "trap24/backup/k", nil, "exporting is disallowed on the policy")
	r.data(200, "POST", "trap24/keys/k/config", map[string]bool{"exportable": true})
	if d := r.data(200, "POST", "trap24/keys/k/config", map[string]bool{"exportable": false}); d["exportable"] != true {
		t.Errorf("exportable was turned off: %v", d)
	}
	r.refused(400, "GET", "trap24/backup/k", nil, "plaintext backup is disallowed on the policy")
}

// Kept: encrypt makes a missing key, which needs create, unless the mount says otherwise.
func TestTrap25TransitUpsert(t *testing.T) {
	t.Parallel()
	r := transitAt(t, "trap25")
	r.must(204, "PUT", "sys/policies/acl/trap25", map[string]string{
		"policy": `path "trap25/encrypt/*" { capabilities = ["update"] }`,
	})
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	r.decode(r.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"trap25"}}), &made)
	plain := map[string]string{"plaintext": "YQ=="}
	r.as(made.Auth.Token).must(200, "POST", "trap25/encrypt/k", plain)
	r.as(made.Auth.Token).refused(403, "POST", "trap25/encrypt/new", plain, "permission denied")
	r.must(200, "POST", "trap25/encrypt/new", plain)
	r.must(200, "POST", "trap25/config/keys", map[string]bool{"disable_upsert": true})
	r.refused(400, "POST", "trap25/encrypt/newer", plain, "encryption key not found")
}

// Kept: what a transit seal sends before its server is up, and that it splits ciphertexts at colons
// into three parts.
func TestTrap26TransitSeal(t *testing.T) {
	t.Parallel()
	r := transitAt(t, "trap26")
	var out struct{ Data struct{ Ciphertext string } }
	if err := json.Unmarshal(r.must(200, "PUT", "trap26/encrypt/k", map[string]string{"plaintext": "YQ=="}).Body,
		&out); err != nil {
		t.Fatal(err)
	}
	if parts := strings.Split(out.Data.Ciphertext, ":"); len(parts) != 3 || parts[0] != "vault" || parts[1] != "v1" {
		t.Errorf("the ciphertext is %q", out.Data.Ciphertext)
	}
}
