package e2e

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/testkit"
)

// newDeviceHarness is a server on a token, whose transit mount may use the managed key "orders" of
// that token. The key is made when it is configured.
func newDeviceHarness(t *testing.T, more map[string]any) *harness {
	t.Helper()
	r := newHSMHarness(t, "")
	r.addConfig("\naudit \"file\" \"main\" {\n  options = {\n    file_path = \"audit.log\"\n  }\n}\n")
	r.addConfig(fmt.Sprintf("\nkms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = %q\n}\n", r.token.Lib))
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]any{"type": "transit",
		"config": map[string]any{"allowed_managed_keys": "orders"}})
	body := r.managed(map[string]any{"key_label": "orders", "mechanism": "0x1087", "key_bits": 256,
		"usages": "encrypt,decrypt", "allow_generate_key": true})
	for name, v := range more {
		body[name] = v
	}
	r.must(204, "POST", "sys/managed-keys/pkcs11/orders", body)
	r.must(200, "POST", "transit/keys/orders", map[string]any{"type": "managed_key", "managed_key_name": "orders"})
	return r
}

// managed adds the token to the parameters of a managed key.
func (r *harness) managed(p map[string]any) map[string]any {
	p["library"], p["token_label"], p["pin"] = "hsm1", r.token.Label, r.token.PIN
	return p
}

var deviceText = base64.StdEncoding.EncodeToString([]byte("an order"))

func (r *harness) encrypted(key string) string {
	r.t.Helper()
	var out struct{ Data struct{ Ciphertext string } }
	r.decode(r.must(200, "POST", "transit/encrypt/"+key, map[string]any{"plaintext": deviceText}), &out)
	return out.Data.Ciphertext
}

func (r *harness) decrypts(key, text string) {
	r.t.Helper()
	var out struct{ Data struct{ Plaintext string } }
	r.decode(r.must(200, "POST", "transit/decrypt/"+key, map[string]any{"ciphertext": text}), &out)
	if out.Data.Plaintext != deviceText {
		r.t.Errorf("%s decrypts to %q", key, out.Data.Plaintext)
	}
}

// TestDeviceKeyIsRefused asks, as an administrator of managed keys, for what would reach the root
// key, a library or a file of the server.
func TestDeviceKeyIsRefused(t *testing.T) {
	t.Parallel()
	r := newDeviceHarness(t, nil)
	cipher := map[string]any{"key_label": "orders", "usages": "encrypt,decrypt"}
	for what, tc := range map[string]struct {
		change map[string]any
		says   string
	}{
		"the seal's key":            {map[string]any{"key_label": "root"}, "one of a seal"},
		"a path":                    {map[string]any{"library": r.token.Lib}, "names a stanza, never a path"},
		"a file":                    {map[string]any{"pin": "file:///etc/passwd"}, "names a file"},
		"a variable":                {map[string]any{"pin": "env://HOME"}, "names a file or a variable"},
		"a parameter of the server": {map[string]any{"isolation": "none"}, "unknown parameter"},
		"a wrong PIN":               {map[string]any{"pin": "0000"}, "denied"},
		"a token that is not there": {map[string]any{"token_label": "none"}, "key gone"},
		"a key that is not there":   {map[string]any{"key_label": "none"}, "key gone"},
		"usages of another type":    {map[string]any{"usages": "sign,verify"}, "set usages to encrypt,decrypt"},
		"an unknown usage":          {map[string]any{"usages": "everything"}, "unknown usage"},
	} {
		body := r.managed(map[string]any{})
		for _, from := range []map[string]any{cipher, tc.change} {
			for name, v := range from {
				body[name] = v
			}
		}
		reply := r.must(400, "POST", "sys/managed-keys/pkcs11/other", body)
		saysAll(t, what, reply.Errors(), tc.says)
		if strings.Contains(reply.Errors(), r.token.Lib) {
			t.Errorf("%s: the answer shows the library: %s", what, reply.Errors())
		}
	}
	r.must(404, "GET", "sys/managed-keys/pkcs11/other", nil)
	r.must(204, "POST", "sys/managed-keys/pkcs11/orders/test/sign", nil)
	shown := r.must(200, "GET", "sys/managed-keys/pkcs11/orders", nil)
	if strings.Contains(string(shown.Body), r.token.PIN) || !strings.Contains(string(shown.Body), "(redacted)") {
		t.Errorf("the configuration shows its PIN: %s", shown.Body)
	}
	r.must(204, "POST", "sys/mounts/other", map[string]any{"type": "transit"})
	reply := r.must(400, "POST", "other/keys/k", map[string]any{"type": "managed_key", "managed_key_name": "orders"})
	saysAll(t, "a mount without permission", reply.Errors(), "allowed_managed_keys")
	text := r.encrypted("orders")
	r.must(204, "POST", "sys/mounts/transit/tune", map[string]any{"allowed_managed_keys": ""})
	r.must(400, "POST", "transit/decrypt/orders", map[string]any{"ciphertext": text})
	r.must(204, "POST", "sys/mounts/transit/tune", map[string]any{"allowed_managed_keys": "pkcs11/orders"})
	r.decrypts("orders", text)
}

// TestDeviceKeyWithoutItsDevice: direct keys answer 503 with class and remedy, others continue, and
// the key works again when the token is back; a restart changes nothing.
func TestDeviceKeyWithoutItsDevice(t *testing.T) {
	t.Parallel()
	r := newDeviceHarness(t, nil)
	r.must(200, "POST", "transit/keys/soft", nil)
	r.must(200, "POST", "transit/keys/leased", map[string]any{"root_key_name": "orders", "lease_ttl": "10m"})
	r.must(200, "POST", "transit/keys/unleased", map[string]any{"root_key_name": "orders"})
	text, soft, leased := r.encrypted("orders"), r.encrypted("soft"), r.encrypted("leased")
	r.encrypted("unleased")
	r.move(r.token.Away)
	start := time.Now()
	reply := r.must(503, "POST", "transit/decrypt/orders", map[string]any{"ciphertext": text})
	promised(t, "the answer of a key without its device", time.Since(start), 12*time.Second)
	saysAll(t, "a key without its device", reply.Errors(), "unreachable", "try again")
	for _, secret := range []string{r.token.Lib, r.token.Label, r.token.Dir} {
		if secret != "" && strings.Contains(reply.Errors(), secret) {
			t.Errorf("the answer shows %q: %s", secret, reply.Errors())
		}
	}
	r.decrypts("soft", soft)
	r.decrypts("leased", leased)
	r.must(503, "POST", "transit/encrypt/unleased", map[string]any{"plaintext": deviceText})
	shown := r.must(200, "GET", "sys/managed-keys/pkcs11/orders", nil)
	saysAll(t, "the root key", string(shown.Body), `"leases":{"count":1`)
	trail, err := os.ReadFile(filepath.Join(r.Dir, "audit.log"))
	if err != nil || !strings.Contains(string(trail), `"sys/device-keys/lease"`) ||
		!strings.Contains(string(trail), `"pkcs11/orders"`) {
		t.Errorf("the lease is not in the audit trail: %v", err)
	}
	r.must(400, "POST", "transit/encrypt/orders", map[string]any{"plaintext": "not base64"})
	r.move(r.token.Back)
	r.eventually(healedWithin, "decrypting again", func() bool {
		return r.call("POST", "transit/decrypt/orders", map[string]any{"ciphertext": text}).Code == 200
	})
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.decrypts("orders", text)
}

// TestExternalKey is OpenBao's face: a configuration, a key, a grant, and the texts of refusals.
func TestExternalKey(t *testing.T) {
	t.Parallel()
	r := newDeviceHarness(t, nil)
	r.must(404, "LIST", "sys/external-keys/configs", nil)
	for body, says := range map[string]string{"": `missing required field "plugin"`, "nope": "unknown plugin: nope"} {
		reply := r.must(400, "POST", "sys/external-keys/configs/c1", map[string]any{"plugin": body})
		saysAll(t, "plugin "+body, reply.Errors(), says)
	}
	saysAll(t, "absent", r.must(400, "GET", "sys/external-keys/configs/c2", nil).Errors(), `config "c2" not found`)
	r.must(204, "POST", "sys/external-keys/configs/c1", r.managed(map[string]any{"plugin": "pkcs11"}))
	r.must(400, "POST", "sys/external-keys/configs/c1/keys/a", map[string]any{"key_label": "root"})
	r.must(400, "POST", "sys/external-keys/configs/c1/keys/a", map[string]any{"key_label": "none"})
	r.must(204, "POST", "sys/external-keys/configs/c1/keys/a", map[string]any{"key_label": "orders"})
	create := func(name, ref string) Reply {
		return r.call("POST", "transit/keys/"+name, map[string]any{"type": "external-key", "external_key_ref": ref})
	}
	for ref, says := range map[string]string{
		"":     "must provide external_key_ref to create policy of type external-key",
		"c1/a": `failed to fetch external key: invalid key reference: must be "<config name>:<key name>"`,
		"c1:a": `failed to fetch external key: mount "transit/" is missing grant for key "c1:a"`,
	} {
		reply := create("e", ref)
		if reply.Code != 400 {
			t.Errorf("%q: status %d", ref, reply.Code)
		}
		saysAll(t, ref, reply.Errors(), says)
	}
	r.must(400, "POST", "sys/external-keys/configs/c1/keys/a/grants/transit/", nil)
	r.must(204, "POST", "sys/external-keys/configs/c1/keys/a/grants/transit", nil)
	listed := r.must(200, "LIST", "sys/external-keys/configs/c1/keys/a/grants", nil)
	saysAll(t, "grants", string(listed.Body), `"transit/"`)
	var made struct {
		Data struct {
			Type string
			Keys map[string]string
		}
	}
	r.decode(create("e", "c1:a"), &made)
	if made.Data.Type != "external-key" || made.Data.Keys["1"] != "c1:a" {
		t.Errorf("the key is %+v", made.Data)
	}
	text := r.encrypted("e")
	r.decrypts("e", text)
	r.decrypts("orders", text) // the same key of the token
	r.must(400, "POST", "transit/keys/e/config", map[string]any{"auto_rotate_period": "24h"})
	r.must(400, "POST", "transit/keys/e/rotate", nil)
	r.must(200, "POST", "transit/keys/e/rotate", map[string]any{"external_key_ref": "c1:a"})
	r.must(400, "DELETE", "sys/external-keys/configs/c1", nil)
	r.must(204, "DELETE", "sys/external-keys/configs/c1/keys/a/grants/transit", nil)
	r.must(400, "POST", "transit/decrypt/e", map[string]any{"ciphertext": text})
	r.must(204, "POST", "sys/external-keys/configs/c1/keys/a/grants/transit", nil)
	r.decrypts("e", text)
	r.must(204, "DELETE", "sys/mounts/transit", nil)
	r.must(204, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	saysAll(t, "a later mount at the path of a grant", create("e", "c1:a").Errors(), "missing grant")
	r.must(204, "POST", "sys/external-keys/configs/c1/keys/a/grants/transit", nil)
	r.must(200, "POST", "transit/keys/e", map[string]any{"type": "external-key", "external_key_ref": "c1:a"})
	shown := r.must(200, "GET", "sys/external-keys/configs/c1", nil)
	if strings.Contains(string(shown.Body), r.token.PIN) {
		t.Errorf("the configuration shows its PIN: %s", shown.Body)
	}
}

// objects counts what is on the token, beside the token's own object.
func (r *harness) objects() int {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(filepath.Dir(r.token.ConfigPath), "tokens", "*", "*.object"))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(slices.DeleteFunc(all, func(p string) bool { return filepath.Base(p) == "token.object" }))
}

// deviceKeyRun is a server whose transit key "orders" is in a device, and what was encrypted with
// it.
type deviceKeyRun struct {
	*harness
	env    []string
	others int // objects on the token that are no version's key
	texts  map[int]string
	latest int
	oldest int
	named  bool // kill at the points of the operation alone: at a commit of another the device may be at work
}

func newDeviceKeyRun(t *testing.T) *deviceKeyRun {
	r := newDeviceHarness(t, map[string]any{"allow_destroy_key": true})
	w := &deviceKeyRun{harness: r, env: r.Env, others: r.objects() - 1, texts: map[int]string{}, latest: 1, oldest: 1}
	w.use()
	return w
}

func (w *deviceKeyRun) restart(more ...string) {
	w.t.Helper()
	if err := w.Stop(); err != nil {
		w.t.Fatal(err)
	}
	w.Env = append(slices.Clone(w.env), more...)
	w.mustStart()
	if err := w.UntilUnsealed(); err != nil {
		w.t.Fatal(err)
	}
}

// use reads which versions there are, encrypts with the latest, and decrypts what all have
// encrypted.
func (w *deviceKeyRun) use() {
	w.t.Helper()
	var key struct {
		Data struct {
			Latest int `json:"latest_version"`
			Oldest int `json:"min_available_version"`
			Usable int `json:"min_decryption_version"`
		}
	}
	w.decode(w.must(200, "GET", "transit/keys/orders", nil), &key)
	w.latest, w.oldest = key.Data.Latest, max(key.Data.Oldest, 1)
	w.texts[w.latest] = w.encrypted("orders")
	for n, text := range w.texts {
		if n >= key.Data.Usable {
			w.decrypts("orders", text)
		}
	}
}

func (w *deviceKeyRun) rotate() {
	w.t.Helper()
	w.must(200, "POST", "transit/keys/orders/rotate", nil)
	w.use()
}

// killed runs an operation to its end once, to learn its durable steps, and then kills the server
// at each. Afterwards judge looks at what is there.
func (w *deviceKeyRun) killed(
	t *testing.T, scenario string, ready func(), code int, path func() string, body func() any,
	judge func(point string),
) {
	t.Helper()
	log := filepath.Join(w.Dir, scenario+".points")
	ready()
	w.restart("SEALGATE_FAILPOINT_LOG=" + log)
	passed := readPoints(t, log)
	w.must(code, "POST", path(), body())
	points := slices.DeleteFunc(readPoints(t, log), func(p string) bool { return slices.Contains(passed, p) })
	w.restart()
	checkPoints(t, scenario, points)
	for _, point := range points {
		if w.named && strings.HasPrefix(point, "storage.") {
			continue
		}
		ready()
		w.restart("SEALGATE_FAILPOINT=" + point)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := w.Do(ctx, "POST", path(), w.root, body())
		cancel()
		if code, werr := w.Wait(patience); err == nil || werr != nil || code != -1 {
			t.Fatalf("%s: exit code %d, %v, %v; want death by a signal", point, code, err, werr)
		}
		w.restart()
		judge(point)
	}
}

// TestDeviceKeyRotationKilled kills the server at each durable step of a rotation that makes a key
// in the device. Afterwards all works, and the next rotation takes over the key that is there: the
// token has one key for each version, and none besides.
func TestDeviceKeyRotationKilled(t *testing.T) {
	t.Parallel()
	w := newDeviceKeyRun(t)
	path := func() string { return "transit/keys/orders/rotate" }
	w.killed(t, "device-rotate", w.use, 200, path, func() any { return nil }, func(point string) {
		w.use()
		w.rotate()
		if n := w.objects() - w.others; n != w.latest {
			t.Errorf("%s: the token has %d keys for %d versions", point, n, w.latest)
		}
	})
}

// TestDeviceKeyTrimKilled kills the server at each durable step of a trim that destroys keys in the
// device: the next start destroys what the crash has left, and no key of a version that is there.
func TestDeviceKeyTrimKilled(t *testing.T) {
	t.Parallel()
	w := newDeviceKeyRun(t)
	w.rotate()
	ready := func() {
		w.rotate()
		w.must(200, "POST", "transit/keys/orders/config", map[string]any{"min_decryption_version": w.latest,
			"min_encryption_version": w.latest})
	}
	trim := func() any { return map[string]any{"min_available_version": w.latest, "destroy_in_device": true} }
	path := func() string { return "transit/keys/orders/trim" }
	w.killed(t, "device-trim", ready, 200, path, trim, func(point string) {
		w.use()
		const adopted = 1 // of version 1, which was not made for this key
		w.eventually(patience, "destroying what is trimmed", func() bool {
			return w.objects()-w.others == adopted+w.latest-w.oldest+1
		})
		w.rotate()
	})
}

// TestDeviceKeyImportKilled kills the server at each durable step of the import of a key into the
// device, and of its next version. The next attempt needs the name that the crash has left: it
// works once the next start, or the attempt itself, has destroyed that key.
func TestDeviceKeyImportKilled(t *testing.T) {
	t.Parallel()
	w := newDeviceKeyRun(t)
	w.named = true
	w.wrappedKey() // makes the wrapping key
	n := 0
	name := func() string { return fmt.Sprint("imported", n) }
	body := func() any {
		return map[string]any{"ciphertext": w.wrappedKey(), "managed_key_name": name()}
	}
	configure := func() {
		n++
		w.must(204, "POST", "sys/managed-keys/pkcs11/"+name(), w.managed(map[string]any{"key_label": name(),
			"usages": "encrypt,decrypt", "allow_store_key": true, "allow_destroy_key": true}))
		w.must(204, "POST", "sys/mounts/transit/tune", map[string]any{"allowed_managed_keys": "orders," + name()})
	}
	first := func() string { return "transit/keys/" + name() + "/import" }
	w.killed(t, "device-import", configure, 204, first, body, func(point string) {
		if w.call("GET", "transit/keys/"+name(), nil).Code == 404 {
			testkit.Eventually(t, point+": importing under the name that the crash has left", func() bool {
				return w.call("POST", first(), body()).Code == 204
			})
		}
		w.decrypts(name(), w.encrypted(name()))
	})
	next := func() string { return "transit/keys/" + name() + "/import_version" }
	ready := func() {
		configure()
		w.must(204, "POST", first(), body())
	}
	w.killed(t, "device-import-version", ready, 204, next, body, func(point string) {
		if w.harness.latest(name()) == 1 {
			w.must(204, "POST", next(), body())
		}
		if latest := w.harness.latest(name()); latest != 2 {
			t.Errorf("%s: the latest version is %d", point, latest)
		}
		w.decrypts(name(), w.encrypted(name()))
	})
}

// wrappedKey is a new AES-256 key as an import takes it.
func (r *harness) wrappedKey() string {
	r.t.Helper()
	block, _ := pem.Decode([]byte(r.data(200, "GET", "transit/wrapping_key", nil)["public_key"].(string)))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	wrapped, err := keys.WrapFor(public.(*rsa.PublicKey), crypto.SHA256, secret.New(key))
	if err != nil {
		r.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(wrapped)
}

// TestDeviceKeyInCluster kills the leader between the device's making of a key and the commit of
// the rotation: the next leader takes the key over. What the one configures the other one knows.
func TestDeviceKeyInCluster(t *testing.T) {
	t.Parallel()
	f, _ := etcdCluster(t, 2)
	dir := filepath.Join(t.TempDir(), "token")
	token, err := softhsm.Init(dir, softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Nodes {
		s.Env = token.Environ()
		old, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
		if err == nil {
			err = s.WriteConfig(string(old) + fmt.Sprintf("\nkms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = "+
				"%q\n}\n", token.Lib))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f.Begin()
	first := f.Settled()
	second := 1 - first
	f.Must(first, "POST", "sys/mounts/transit", `{"type":"transit","config":{"allowed_managed_keys":"orders"}}`, nil)
	f.Must(second, "POST", "sys/managed-keys/pkcs11/orders", fmt.Sprintf(`{"library":"hsm1","token_label":%q,"pin":%q,
		"key_label":"orders","mechanism":"0x1087","usages":"encrypt,decrypt","allow_generate_key":true}`, token.Label,
		token.PIN), nil)
	f.Must(first, "POST", "transit/keys/orders", `{"type":"managed_key","managed_key_name":"orders"}`, nil)
	var sealed struct{ Data struct{ Ciphertext string } }
	f.Must(second, "POST", "transit/encrypt/orders", `{"plaintext":"`+deviceText+`"}`, &sealed)

	if err := f.Nodes[second].Stop(); err != nil {
		t.Fatal(err)
	}
	f.Nodes[second].Env = append(token.Environ(), "SEALGATE_FAILPOINT=device.generate.after")
	if err := f.Nodes[second].Start(); err != nil {
		t.Fatal(err)
	}
	f.Settled()
	f.Must(first, "PUT", "sys/step-down", "", nil)
	if f.Leader(first) != second {
		t.Fatal("the other node does not lead")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := f.Nodes[second].Do(ctx, "POST", "transit/keys/orders/rotate", f.Root, nil); err == nil {
		t.Fatalf("the leader that was to be killed answers %d %s", r.Code, r.Body)
	}
	f.Leader(second)
	var key struct {
		Data struct {
			Latest int `json:"latest_version"`
		}
	}
	f.Must(first, "POST", "transit/keys/orders/rotate", "", &key)
	f.Must(first, "POST", "transit/decrypt/orders", fmt.Sprintf(`{"ciphertext":%q}`, sealed.Data.Ciphertext), nil)
	all, err := filepath.Glob(filepath.Join(filepath.Dir(token.ConfigPath), "tokens", "*", "*.object"))
	if err != nil || key.Data.Latest != 2 || len(all) != 3 { // the token's own, and two versions
		t.Errorf("version %d, objects %q, %v", key.Data.Latest, all, err)
	}
}
