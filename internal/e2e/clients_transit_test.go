package e2e

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// newTransitServer is a server with a transit engine at its usual path.
func newTransitServer(t *testing.T) *harness {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	return r
}

// TestHVACTransit makes every transit call of hvac.
func TestHVACTransit(t *testing.T) {
	t.Parallel()
	python := pinnedPython(t, hvacDir)
	r := newTransitServer(t)
	var out struct{ Secrets []string }
	r.python(python, filepath.Join(hvacDir, "transit.py"), map[string]string{"url": r.URL(), "token": r.root}, &out)
	for _, s := range out.Secrets {
		r.known.add("key material of transit", s)
	}
}

// TestCephDeletesItsKeys makes RGW's calls for the key of a bucket: its config must be answered
// without a body.
func TestCephDeletesItsKeys(t *testing.T) {
	t.Parallel()
	r := newTransitServer(t)
	r.must(204, "POST", "sys/mounts/ceph", map[string]any{"type": "transit",
		"options": map[string]string{"empty_config_answer": "true"}})
	for mount, code := range map[string]int{"ceph": 204, "transit": 200} {
		r.must(200, "POST", mount+"/keys/bucket", map[string]any{"type": "chacha20-poly1305", "derived": true})
		reply := r.must(code, "POST", mount+"/keys/bucket/config", map[string]bool{"deletion_allowed": true})
		if (len(reply.Body) == 0) != (code == 204) {
			t.Errorf("%s: %s", mount, reply.Body)
		}
		r.must(204, "DELETE", mount+"/keys/bucket", nil)
	}
	r.must(204, "POST", "sys/mounts/transit/tune", map[string]any{
		"options": map[string]string{"empty_config_answer": "true"}})
	r.must(200, "POST", "transit/keys/bucket", map[string]string{})
	r.must(204, "POST", "transit/keys/bucket/config", map[string]bool{"deletion_allowed": true})
}

// sdkWriter writes, reads, lists and deletes by one of the two SDKs.
type sdkWriter struct {
	write func(path string, data map[string]any) (map[string]any, error)
	read  func(path string) (map[string]any, error)
	list  func(path string) (map[string]any, error)
}

func vaultWriter(t *testing.T, r *harness) sdkWriter {
	t.Helper()
	c := vault.DefaultConfig()
	c.Address = r.URL()
	client, err := vault.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(r.root)
	data := func(s *vault.Secret, err error) (map[string]any, error) {
		if s == nil || err != nil {
			return nil, err
		}
		return s.Data, nil
	}
	l := client.Logical()
	return sdkWriter{
		func(path string, in map[string]any) (map[string]any, error) {
			return data(l.WriteWithContext(context.WithoutCancel(t.Context()), path, in))
		},
		func(path string) (map[string]any, error) { return data(l.ReadWithContext(t.Context(), path)) },
		func(path string) (map[string]any, error) { return data(l.ListWithContext(t.Context(), path)) },
	}
}

func baoWriter(t *testing.T, r *harness) sdkWriter {
	t.Helper()
	c := bao.DefaultConfig()
	c.Address = r.URL()
	client, err := bao.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(r.root)
	data := func(s *bao.Secret, err error) (map[string]any, error) {
		if s == nil || err != nil {
			return nil, err
		}
		return s.Data, nil
	}
	l := client.Logical()
	return sdkWriter{
		func(path string, in map[string]any) (map[string]any, error) {
			return data(l.WriteWithContext(t.Context(), path, in))
		},
		func(path string) (map[string]any, error) { return data(l.ReadWithContext(t.Context(), path)) },
		func(path string) (map[string]any, error) { return data(l.ListWithContext(t.Context(), path)) },
	}
}

// TestSDKTransit makes the calls of SOPS, cosign, OpenTofu's state encryption and Ceph by both Go
// SDKs.
func TestSDKTransit(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, *harness) sdkWriter{"vault": vaultWriter, "openbao": baoWriter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, newTransitServer(t))
			must := func(m map[string]any, err error) map[string]any {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			same := func(got, want any) {
				t.Helper()
				if got != want {
					t.Errorf("%v; want %v", got, want)
				}
			}
			const hello = "aGVsbG8="
			// SOPS: a key of the default type, encrypt and decrypt.
			must(s.write("transit/keys/sops", nil))
			c := must(s.write("transit/encrypt/sops", map[string]any{"plaintext": hello}))["ciphertext"]
			same(must(s.write("transit/decrypt/sops", map[string]any{"ciphertext": c}))["plaintext"], hello)
			// cosign: the public key, and signatures of digests with a version as a string.
			must(s.write("transit/keys/cosign", map[string]any{"type": "ecdsa-p256"}))
			k := must(s.read("transit/keys/cosign"))
			if public := k["keys"].(map[string]any)["1"].(map[string]any)["public_key"].(string); len(public) < 100 {
				t.Errorf("public key %q", public)
			}
			const digest = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
			sig := must(s.write("transit/sign/cosign/sha2-256", map[string]any{
				"input": digest, "prehashed": true, "key_version": "0", "signature_algorithm": "pkcs1v15",
			}))["signature"]
			same(must(s.write("transit/verify/cosign/sha2-256", map[string]any{
				"input": digest, "prehashed": true, "signature": sig,
			}))["valid"], true)
			same(must(s.write("transit/verify/cosign", map[string]any{"input": hello, "signature": sig}))["valid"], true)
			// OpenTofu: data keys bound to associated data.
			made := must(s.write("transit/datakey/plaintext/sops", map[string]any{"bits": 256, "associated_data": hello}))
			same(must(s.write("transit/decrypt/sops", map[string]any{"ciphertext": made["ciphertext"],
				"associated_data": hello}))["plaintext"],
				made["plaintext"])
			// Ceph: a derived key.
			must(s.write("transit/keys/ceph", map[string]any{"type": "chacha20-poly1305", "derived": true}))
			made = must(s.write("transit/datakey/plaintext/ceph", map[string]any{"context": hello}))
			same(must(s.write("transit/decrypt/ceph", map[string]any{"ciphertext": made["ciphertext"],
				"context": hello}))["plaintext"],
				made["plaintext"])
			if names := must(s.list("transit/keys"))["keys"].([]any); !slices.Contains(names, any("ceph")) {
				t.Errorf("keys: %v", names)
			}
			if _, err := s.write("transit/decrypt/sops", map[string]any{"ciphertext": "x"}); err == nil {
				t.Error("decrypted junk")
			}
		})
	}
}
