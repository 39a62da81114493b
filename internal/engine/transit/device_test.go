//go:build cgo && !windows

package transit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/pkcs11"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/seals"
	sealpkcs11 "github.com/sealgate/sealgate/seals/pkcs11"
)

// deviceEngine is a backend with a registry of the keys on a token.
type deviceEngine struct {
	*engine
	token    *softhsm.Token
	hub      *device.Hub
	registry *device.Registry
}

func newDeviceEngine(t testing.TB) *deviceEngine {
	t.Helper()
	tok := softhsm.New(t)
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	c := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	hub := device.NewHub(device.Options{
		Drivers:   map[string]device.Driver{"pkcs11": pkcs11.Driver{}},
		Libraries: []device.Library{{Type: "pkcs11", Name: "hsm1", Path: tok.Lib}},
		Log:       slog.New(slog.DiscardHandler), Now: c.now,
	})
	r := hub.Open(copying{store})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &deviceEngine{token: tok, hub: hub, registry: r}
	e.engine = e.open(t, copying{inmem.New()}, c)
	return e
}

func (e *deviceEngine) open(t testing.TB, store mount.Storage, c *clock) *engine {
	t.Helper()
	b, err := Factory(Options{Now: c.now, Devices: e.registry})(store, mount.Entry{Path: "transit/", Type: "transit",
		Config: mount.Config{AllowedManagedKeys: []string{"hsm"}}})
	if err != nil {
		t.Fatal(err)
	}
	return &engine{t, store, c, b.(*backend)}
}

// managed configures the managed key "hsm".
func (e *deviceEngine) managed(params device.Params, change func(*device.Entry)) error {
	all := device.Params{"library": "hsm1", "token_label": e.token.Label, "pin": e.token.PIN}
	for name, v := range params {
		all[name] = v
	}
	return e.registry.Write(e.t.Context(), device.Entry{Face: device.Managed, Type: "pkcs11", Name: "hsm"},
		device.Change{Given: all, Replace: true, Entry: change})
}

func usagesOf(all ...device.Usage) func(*device.Entry) {
	return func(e *device.Entry) { e.Usages = all }
}

func TestManagedKeyEncrypts(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	e.token.Key(t, hsm.AES256, "orders")
	if err := e.managed(device.Params{"key_label": "orders"}, usagesOf(device.Encrypt, device.Decrypt)); err != nil {
		t.Fatal(err)
	}
	made := e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm"))
	if made["type"] != "managed_key" || made["supports_encryption"] != true || made["provider"] != "pkcs11" {
		t.Errorf("the key is %v", made)
	}
	plain := base64.StdEncoding.EncodeToString([]byte("text"))
	aad := base64.StdEncoding.EncodeToString([]byte("aad"))
	text := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain, "associated_data", aad))
	if got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", text, "associated_data", aad)); got != plain {
		t.Errorf("decrypted to %s", got)
	}
	e.must("POST", "datakey/plaintext/k", body())
	for what, r := range map[string]answer{
		"wrong AAD":      e.do("POST", "decrypt/k", body("ciphertext", text, "associated_data", plain)),
		"hmac":           e.do("POST", "hmac/k", body("input", plain)),
		"export":         e.do("GET", "export/encryption-key/k", ""),
		"backup":         e.do("GET", "backup/k", ""),
		"sign":           e.do("POST", "sign/k", body("input", plain)),
		"rotate":         e.do("POST", "keys/k/rotate", ""),
		"exportable":     e.do("POST", "keys/k/config", body("exportable", true)),
		"auto rotation":  e.do("POST", "keys/k/config", body("auto_rotate_period", "24h")),
		"derived":        e.do("POST", "keys/l", body("type", "managed_key", "managed_key_name", "hsm", "derived", true)),
		"not allowed":    e.do("POST", "keys/l", body("type", "managed_key", "managed_key_name", "other")),
		"external, none": e.do("POST", "keys/l", body("type", "external-key")),
	} {
		if r.status != 400 {
			t.Errorf("%s: %v", what, r)
		}
	}
}

func TestManagedKeyRotatesInTheDevice(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	p := device.Params{"key_label": "orders", "mechanism": "0x1087", "key_bits": "256"}
	err := e.managed(p, func(e *device.Entry) {
		e.Usages, e.AllowGenerate, e.AllowDestroy = []device.Usage{device.Encrypt, device.Decrypt}, true, true
	})
	if err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm", "auto_rotate_period", "1h"))
	plain := base64.StdEncoding.EncodeToString([]byte("text"))
	first := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain))
	e.clock.add(2 * time.Hour)
	if err := e.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain))
	if !strings.HasPrefix(second, "vault:v2:") {
		t.Fatalf("after the rotation: %s", second)
	}
	e.must("POST", "keys/k/rotate", "")
	for _, text := range []string{first, second} {
		if got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", text)); got != plain {
			t.Errorf("decrypted to %s", got)
		}
	}
	k, err := e.keys.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/k/config", body("min_decryption_version", 3, "min_encryption_version", 3))
	e.must("POST", "keys/k/trim", body("min_available_version", 3, "destroy_in_device", true))
	for n, left := range map[int]bool{1: true, 2: false, 3: true} { // version 1 was not made for this key
		label := "orders"
		if n > 1 {
			label += deviceSuffix(k, n)
		}
		if found := e.onToken(label); found != left {
			t.Errorf("the key of version %d is on the token: %t", n, found)
		}
	}
	if notes, err := e.keys.Notes(t.Context()); err != nil || len(notes) > 0 {
		t.Errorf("notes that are left: %v, %v", notes, err)
	}
}

// onToken reports whether a key has the label.
func (e *deviceEngine) onToken(label string) bool {
	e.t.Helper()
	cfg := e.token.Config()
	tok, err := hsm.New(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	defer tok.Close()
	k, err := tok.DeviceKey(label, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = k.Describe(e.t.Context())
	return err == nil
}

func TestManagedKeyPairs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		params device.Params
		usages []device.Usage
		sign   map[string]any
	}{
		{device.Params{"curve": "P256"}, nil, nil},
		{device.Params{"mechanism": "0x000D", "key_bits": "2048"}, []device.Usage{device.Sign, device.Verify, device.Encrypt,
			device.Decrypt}, map[string]any{"signature_algorithm": "pss", "salt_length": "hash"}},
		{device.Params{"mechanism": "0x0001", "key_bits": "2048"}, nil, map[string]any{"signature_algorithm": "pkcs1v15"}},
		{device.Params{"mechanism": "0x0251"}, []device.Usage{device.MAC}, nil},
	} {
		t.Run(fmt.Sprint(tc.params["mechanism"], tc.params["curve"]), func(t *testing.T) {
			t.Parallel()
			e := newDeviceEngine(t)
			p := device.Params{"key_label": "pair"}
			for name, v := range tc.params {
				p[name] = v
			}
			err := e.managed(p, func(e *device.Entry) {
				e.AllowGenerate, e.Usages = true, tc.usages
				if tc.usages == nil {
					e.Usages = device.DefaultUsages()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm"))
			input := base64.StdEncoding.EncodeToString([]byte("input"))
			if tc.params["mechanism"] == "0x0251" {
				mac := e.get("hmac", "POST", "hmac/k", body("input", input))
				if r := e.must("POST", "verify/k", body("input", input, "hmac", mac)); r["valid"] != true {
					t.Errorf("its own HMAC: %v", r)
				}
				return
			}
			request := []any{"input", input}
			for name, v := range tc.sign {
				request = append(request, name, v)
			}
			sig := e.get("signature", "POST", "sign/k", body(request...))
			if r := e.must("POST", "verify/k", body(append(request, "signature", sig)...)); r["valid"] != true {
				t.Errorf("its own signature: %v", r)
			}
			if csr := e.get("csr", "POST", "keys/k/csr", body()); !strings.Contains(csr, "CERTIFICATE REQUEST") {
				t.Errorf("the request for a certificate is %s", csr)
			}
			e.must("GET", "export/public-key/k", "")
			text := e.do("POST", "encrypt/k", body("plaintext", input))
			if len(tc.usages) < 4 {
				if text.status != 400 {
					t.Errorf("a key that may not encrypt: %v", text)
				}
				return
			}
			const pkcs1 = "pkcs1v15" // SoftHSM's OAEP has SHA-1 alone
			cipher := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", input, "padding_scheme", pkcs1))
			got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", cipher, "padding_scheme", pkcs1))
			if got != input {
				t.Errorf("decrypted to %s", got)
			}
		})
	}
}

// wrapped prepares a key for import.
func (e *deviceEngine) wrapped(raw []byte) string {
	e.t.Helper()
	block, _ := pem.Decode([]byte(e.get("public_key", "GET", "wrapping_key", "")))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		e.t.Fatal(err)
	}
	out, err := keys.WrapFor(public.(*rsa.PublicKey), crypto.SHA256, secret.Copy(raw))
	if err != nil {
		e.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out)
}

func TestKeyIsImportedIntoTheDevice(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	raw := bytes.Repeat([]byte{7}, 32)
	both := usagesOf(device.Encrypt, device.Decrypt)
	request := body("ciphertext", e.wrapped(raw), "managed_key_name", "hsm", "allow_rotation", true)
	if err := e.managed(device.Params{"key_label": "orders"}, both); err == nil {
		t.Fatal("a configuration without a key, and without permission to make or store one, was accepted")
	}
	err := e.managed(device.Params{"key_label": "orders"}, func(e *device.Entry) { both(e); e.AllowStore = true })
	if err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/k/import", request)
	if r := e.do("POST", "keys/l/import", request); r.status != 400 {
		t.Errorf("a second import under one label: %v", r)
	}
	e.must("POST", "keys/k/import_version", body("ciphertext", e.wrapped(bytes.Repeat([]byte{8}, 32))))
	plain := base64.StdEncoding.EncodeToString([]byte("text"))
	text := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain, "key_version", 1))
	second := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain))
	back := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", second))
	if !strings.HasPrefix(second, "vault:v2:") || back != plain {
		t.Errorf("the second version made %s", second)
	}
	k, err := e.keys.Get(t.Context(), "k")
	if err != nil || !e.onToken("orders"+importSuffix(k, 2)) || e.onToken("orders"+deviceSuffix(k, 2)) {
		t.Errorf("the imported version has not the name of an import, %v", err)
	}
	// The imported key is the one on the token: a software key of the same bytes decrypts.
	e.must("POST", "keys/soft/import", body("ciphertext", e.wrapped(raw)))
	if got := e.get("plaintext", "POST", "decrypt/soft", body("ciphertext", text)); got != plain {
		t.Errorf("decrypted to %s", got)
	}
	if notes, err := e.keys.Notes(t.Context()); err != nil || len(notes) > 0 {
		t.Errorf("notes that are left: %v, %v", notes, err)
	}
	if r := e.do("GET", "export/encryption-key/k", ""); r.status != 400 {
		t.Errorf("export: %v", r)
	}
}

// TestRootedKeyBridgesAnOutage: without a lease each operation needs the device; with one, the key
// works without it until the lease ends, to the second and to the use, and is renewed in between.
func TestRootedKeyBridgesAnOutage(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	err := e.managed(device.Params{"key_label": "root", "mechanism": "0x1087"}, func(e *device.Entry) {
		e.Usages, e.AllowGenerate = []device.Usage{device.Encrypt, device.Decrypt}, true
	})
	if err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/none", body("root_key_name", "hsm"))
	made := e.must("POST", "keys/timed", body("root_key_name", "hsm", "lease_ttl", "10m"))
	if made["root_key"] != "pkcs11/hsm" || made["lease_ttl"] != 600. || made["type"] != "aes256-gcm96" {
		t.Errorf("the key is %v", made)
	}
	e.must("POST", "keys/counted", body("root_key_name", "hsm", "lease_ttl", "10m", "max_uses", 3))
	e.must("POST", "keys/pair", body("type", "ecdsa-p256", "root_key_name", "hsm", "lease_ttl", "10m"))
	for what, bad := range map[string]string{
		"a short lease":     body("root_key_name", "hsm", "lease_ttl", "5s"),
		"a long lease":      body("root_key_name", "hsm", "lease_ttl", "48h"),
		"uses, no lease":    body("root_key_name", "hsm", "max_uses", 3),
		"a lease, no root":  body("lease_ttl", "10m"),
		"a root not there":  body("root_key_name", "none"),
		"another mount key": body("root_key_ref", "c:k"),
	} {
		if r := e.do("POST", "keys/bad", bad); r.status != 400 {
			t.Errorf("%s: %v", what, r)
		}
	}
	plain := base64.StdEncoding.EncodeToString([]byte("text"))
	encrypt := func(key string, status int) {
		t.Helper()
		if r := e.do("POST", "encrypt/"+key, body("plaintext", plain)); r.status != status {
			t.Errorf("%s: %d %s, want %d", key, r.status, r.body, status)
		}
	}
	for _, key := range []string{"none", "timed", "counted"} {
		encrypt(key, 200)
	}
	e.must("POST", "sign/pair", body("input", plain))
	e.must("POST", "keys/timed/rotate", "")
	encrypt("timed", 200)
	if s := e.registry.Leases("pkcs11/hsm"); s.Count != 4 {
		t.Errorf("the leases are %+v", s)
	}
	e.clock.add(6 * time.Minute)
	encrypt("timed", 200)
	if err := e.registry.RenewLeases(t.Context()); err != nil { // of the second version of timed, half over and used
		t.Fatal(err)
	}
	if err := e.registry.Close(); err != nil { // what an outage looks like: no connection is to be had
		t.Fatal(err)
	}
	encrypt("timed", 503)
}

// TestLeaseEndsExactly drives one lease by the clock and by its uses, with the device gone.
func TestLeaseEndsExactly(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	params := device.Params{"key_label": "root", "mechanism": "0x1087"}
	err := e.managed(params, func(e *device.Entry) {
		e.Usages, e.AllowGenerate = []device.Usage{device.Encrypt, device.Decrypt}, true
	})
	if err != nil {
		t.Fatal(err)
	}
	plain := base64.StdEncoding.EncodeToString([]byte("text"))
	e.must("POST", "keys/timed", body("root_key_name", "hsm", "lease_ttl", "10m"))
	e.must("POST", "keys/counted", body("root_key_name", "hsm", "lease_ttl", "10m", "max_uses", 3))
	e.must("POST", "keys/direct", body("root_key_name", "hsm"))
	status := func(key string) int { return e.do("POST", "encrypt/"+key, body("plaintext", plain)).status }
	for _, key := range []string{"timed", "counted", "direct"} {
		if got := status(key); got != 200 {
			t.Fatalf("%s: %d", key, got)
		}
	}
	e.destroy("root")
	got := []int{status("counted"), status("counted"), status("counted"), status("direct"), status("timed")}
	if want := []int{200, 200, 503, 503, 200}; !slices.Equal(got, want) {
		t.Errorf("without the root key: %v, want %v", got, want)
	}
	e.clock.add(10*time.Minute - time.Nanosecond)
	if got := status("timed"); got != 200 {
		t.Errorf("a nanosecond before its end: %d", got)
	}
	e.clock.add(time.Nanosecond)
	if got := status("timed"); got != 503 {
		t.Errorf("at its end: %d", got)
	}
}

// destroy removes the keys with a label from the token.
func (e *deviceEngine) destroy(label string) {
	e.t.Helper()
	if err := e.token.Delete(label); err != nil {
		e.t.Fatal(err)
	}
}

// TestAnotherKeyUnderTheName replaces the key on the token by another with its label: it is not
// used in its place.
func TestAnotherKeyUnderTheName(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	e.token.Key(t, hsm.AES256, "orders")
	both := usagesOf(device.Encrypt, device.Decrypt)
	if err := e.managed(device.Params{"key_label": "orders"}, both); err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm"))
	e.destroy("orders")
	e.token.Key(t, hsm.AES256, "orders")
	for _, says := range []string{"key gone", "wrong key"} { // the next use asks the token anew
		r := e.do("POST", "encrypt/k", body("plaintext", "dGV4dA=="))
		if r.status != 503 || !strings.Contains(r.body, says) {
			t.Errorf("with another key under the name: %d %s", r.status, r.body)
		}
	}
	if err := e.managed(device.Params{"key_label": "orders"}, both); err == nil {
		t.Error("a configuration selects another key than before, without allow_replace_key")
	}
}

// TestSealKeyIsRefusedWhenOpened makes a key that is in use one of a seal, which was added while
// serving: the next use is refused.
func TestSealKeyIsRefusedWhenOpened(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	e.token.Key(t, hsm.AES256, "orders")
	both := usagesOf(device.Encrypt, device.Decrypt)
	if err := e.managed(device.Params{"key_label": "orders"}, both); err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm"))
	e.must("POST", "encrypt/k", body("plaintext", "dGV4dA=="))
	w, err := sealpkcs11.New(seals.Config{Name: "seal", Type: "pkcs11", Params: map[string]string{
		"lib": e.token.Lib, "token_label": "another", "key_label": "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	e.hub.Protect(func() []seals.Seal { return []seals.Seal{{Name: "seal", Type: "pkcs11", Wrapper: w}} })
	r := e.do("POST", "encrypt/k", body("plaintext", "dGV4dA=="))
	if r.status != 400 || !strings.Contains(r.body, "one of a seal") {
		t.Errorf("a seal's key: %d %s", r.status, r.body)
	}
	if err := e.managed(device.Params{"key_label": "orders"}, both); err == nil {
		t.Error("a seal's key was configured")
	}
}

// TestNoKeyUnderTheSealsName: no key is made or imported under the name or id of a seal's key,
// which is missing for now: the seal would take it for its own, or find two.
func TestNoKeyUnderTheSealsName(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	protect := func(key, value string) {
		t.Helper()
		w, err := sealpkcs11.New(seals.Config{Name: "seal", Type: "pkcs11", Params: map[string]string{
			"lib": e.token.Lib, "token_label": e.token.Label, key: value}})
		if err != nil {
			t.Fatal(err)
		}
		e.hub.Protect(func() []seals.Seal { return []seals.Seal{{Name: "seal", Type: "pkcs11", Wrapper: w}} })
	}
	for what, tc := range map[string]struct {
		key, value string
		params     device.Params
	}{
		"the label": {"key_label", "root; 1", device.Params{"key_label": "root; 1", "key_bits": "256"}},
		"the id":    {"key_id", "a1b2", device.Params{"key_label": "mine", "key_id": "a1b2", "key_bits": "256"}},
	} {
		protect(tc.key, tc.value)
		for _, allow := range []func(*device.Entry){
			func(d *device.Entry) { d.AllowGenerate = true }, func(d *device.Entry) { d.AllowStore = true },
		} {
			err := e.managed(tc.params, func(d *device.Entry) {
				d.Usages = []device.Usage{device.Encrypt, device.Decrypt}
				allow(d)
			})
			if err == nil || !strings.Contains(err.Error(), "one of a seal") || e.onToken(tc.params["key_label"]) {
				t.Errorf("%s: %v; on the token: %t", what, err, e.onToken(tc.params["key_label"]))
			}
		}
	}

	e.hub.Protect(nil)
	err := e.managed(device.Params{"key_label": "later"}, func(d *device.Entry) {
		d.Usages, d.AllowStore = []device.Usage{device.Encrypt, device.Decrypt}, true
	})
	if err != nil {
		t.Fatal(err)
	}
	protect("key_label", "later") // the seal is configured before the key is imported
	r := e.do("POST", "keys/k/import", body("type", "aes256-gcm96", "managed_key_name", "hsm", "ciphertext",
		e.wrapped(make([]byte, 32))))
	if r.status != 400 || !strings.Contains(r.body, "one of a seal") || e.onToken("later") {
		t.Errorf("an import under the seal's name: %d %s; on the token: %t", r.status, r.body, e.onToken("later"))
	}
}

// TestWhatAnImportHasLeft: a key that an interrupted import has left in the device is destroyed
// where that is allowed, half of a pair too; otherwise it is named until it is gone. One that
// another configuration selects meanwhile stays.
func TestWhatAnImportHasLeft(t *testing.T) {
	t.Parallel()
	e := newDeviceEngine(t)
	configure := func(label string, destroy bool) {
		t.Helper()
		err := e.managed(device.Params{"key_label": label}, func(e *device.Entry) {
			e.Usages, e.AllowReplace, e.AllowStore, e.AllowDestroy = nil, true, true, destroy
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	aes := func() (keys.Spec, *secret.Bytes) {
		return keys.Spec{Type: keys.AES256GCM}, secret.Copy(bytes.Repeat([]byte{7}, 32))
	}

	configure("named", false)
	e.interrupted(aes())
	if err := sweepDevices(e.backend, t.Context()); err == nil || !strings.Contains(err.Error(), `"named"`) {
		t.Errorf("a key that may not be destroyed: %v", err)
	}
	tool(t, e, "--delete-object", "--type", "secrkey", "--label", "named")
	e.sweeps()

	configure("cleaned", true)
	e.interrupted(aes())
	e.sweeps()
	if e.onToken("cleaned") {
		t.Error("the key is still on the token")
	}
	e.must("POST", "keys/cleaned/import", body("ciphertext", e.wrapped(bytes.Repeat([]byte{8}, 32)), "managed_key_name",
		"hsm"))

	configure("adopted", true)
	e.interrupted(aes())
	configure("adopted", true) // notes the key
	e.sweeps()
	if !e.onToken("adopted") {
		t.Error("the key that a configuration selects was destroyed")
	}

	configure("half", true)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e.interrupted(keys.Spec{Type: keys.ECDSAP256}, secret.New(pkcs8(t, private)))
	tool(t, e, "--delete-object", "--type", "pubkey", "--label", "half")
	e.sweeps()
	e.must("POST", "keys/half/import", body("ciphertext", e.wrapped(pkcs8(t, private)), "managed_key_name", "hsm",
		"type", "ecdsa-p256"))
}

// interrupted imports a key that no version gets, as a crash before the commit leaves it.
func (e *deviceEngine) interrupted(spec keys.Spec, private *secret.Bytes) {
	e.t.Helper()
	stop := errors.New("interrupted")
	_, err := e.keys.Create(e.t.Context(), "interrupted", keys.Settings{Spec: spec},
		func(ctx context.Context, k *keys.Key) (*keys.Version, error) {
			p, err := e.devices.ToImport(ctx, device.Managed, "hsm", spec)
			if err != nil {
				return nil, err
			}
			if _, err := (incoming{private: private}).intoDevice(e.backend, ctx, k, 1, p); err != nil {
				return nil, err
			}
			return nil, stop
		})
	if !errors.Is(err, stop) {
		e.t.Fatal(err)
	}
}

// sweeps ends what is left: no note stays.
func (e *deviceEngine) sweeps() {
	e.t.Helper()
	if err := sweepDevices(e.backend, e.t.Context()); err != nil {
		e.t.Error(err)
	}
	if notes, err := e.keys.Notes(e.t.Context()); err != nil || len(notes) > 0 {
		e.t.Errorf("notes that are left: %v, %v", notes, err)
	}
}

// tool runs pkcs11-tool on the token.
func tool(t *testing.T, e *deviceEngine, args ...string) {
	t.Helper()
	args = append([]string{"--module", e.token.Lib, "--token-label", e.token.Label, "--login", "--pin", e.token.PIN},
		args...)
	cmd := exec.CommandContext(t.Context(), testkit.Require(t, "pkcs11-tool"), args...)
	cmd.Env = append(os.Environ(), e.token.Environ()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pkcs11-tool: %v\n%s", err, out)
	}
}
