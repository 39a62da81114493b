package transit

import (
	"encoding/json"
	"strings"
	"testing"
)

func decodeJSON(text string, into any) error { return json.Unmarshal([]byte(text), into) }

// calm checks that an answer is no accident: neither a panic nor an internal error.
func calm(t *testing.T, e *engine, path, request string) answer {
	t.Helper()
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(request))
	if d.Decode(&object) != nil || object == nil || d.More() {
		return answer{}
	}
	a := e.do("POST", path, request)
	if a.status >= 500 {
		t.Errorf("%s %s: %d %s", path, request, a.status, a.body)
	}
	return a
}

// FuzzCiphertext changes a ciphertext: only the one that was made opens.
func FuzzCiphertext(f *testing.F) {
	e := newEngine(f)
	e.must("POST", "keys/k", "")
	e.must("POST", "keys/rsa", `{"type":"rsa-2048"}`)
	c := e.get("ciphertext", "POST", "encrypt/k", `{"plaintext":"aGVsbG8="}`)
	for _, seed := range []string{c, "", "vault:v1:", "vault:v0:AAAA", "vault:v99999999999999999999:AAAA",
		"vault:v1:AAAA:AAAA", c + "=", c[:20]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := &engine{t: t, store: e.store, clock: e.clock, backend: e.backend}
		for _, k := range []string{"k", "rsa"} {
			a := calm(t, e, "decrypt/"+k, body("ciphertext", text))
			if a.status == 200 && !strings.HasSuffix(strings.NewReplacer("\n", "", "\r", "").Replace(text),
				c[len("vault:v1:"):]) {
				t.Errorf("%q opens to %s", text, a.body)
			}
		}
		calm(t, e, "rewrap/k", body("ciphertext", text))
	})
}

// FuzzSignature changes a signature: only the one that was made is valid, and no other text is one.
func FuzzSignature(f *testing.F) {
	e := newEngine(f)
	for _, k := range []string{"ed25519", "ecdsa-p256", "rsa-2048"} {
		e.must("POST", "keys/"+k, body("type", k))
		f.Add(k, e.get("signature", "POST", "sign/"+k, `{"input":"aGVsbG8="}`), false)
		f.Add(k, e.get("signature", "POST", "sign/"+k, `{"input":"aGVsbG8=","marshaling_algorithm":"jws"}`), true)
	}
	f.Fuzz(func(t *testing.T, k, text string, jws bool) {
		if k != "ed25519" && k != "ecdsa-p256" && k != "rsa-2048" {
			return
		}
		e := &engine{t: t, store: e.store, clock: e.clock, backend: e.backend}
		marshaling := "asn1"
		if jws {
			marshaling = "jws"
		}
		// No key has signed this text.
		a := calm(t, e, "verify/"+k, body("input", "d29ybGQ=", "signature", text, "marshaling_algorithm", marshaling))
		if strings.Contains(a.body, `"valid":true`) {
			t.Errorf("%s: %q is valid", k, text)
		}
		calm(t, e, "verify/"+k, body("input", "d29ybGQ=", "hmac", text))
	})
}

// FuzzBatch sends batches of any form.
func FuzzBatch(f *testing.F) {
	e := newEngine(f)
	e.must("POST", "keys/k", "")
	e.must("POST", "keys/s", `{"type":"ed25519"}`)
	for _, seed := range []string{
		`[]`, `"x"`, `[5]`, `[null]`, `[{}]`, `[{"plaintext":"YQ=="},{"plaintext":5}]`,
		`[{"plaintext":"YQ==","context":"YQ=="},{}]`,
		`[{"ciphertext":"vault:v1:AAAA","reference":{"a":1}}]`, `[{"input":"YQ==","signature":"x"},{"input":"YQ==","hmac":"x"}]`, `[[{}]]`,
	} {
		f.Add(seed, "207")
	}
	f.Fuzz(func(t *testing.T, batch, code string) {
		e := &engine{t: t, store: e.store, clock: e.clock, backend: e.backend}
		for _, path := range []string{"encrypt/k", "decrypt/k", "rewrap/k", "sign/s", "verify/s", "hmac/k"} {
			request := `{"batch_input":` + batch + `,"partial_failure_response_code":` + mustJSON(code) + `}`
			if json.Valid([]byte(request)) {
				calm(t, e, path, request)
			}
		}
	})
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// FuzzImport sends wrapped keys and backups of any form.
func FuzzImport(f *testing.F) {
	e := newEngine(f)
	e.must("GET", "wrapping_key", "")
	e.must("POST", "keys/k", `{"exportable":true,"allow_plaintext_backup":true,"type":"ecdsa-p256"}`)
	backup := e.get("backup", "GET", "backup/k", "")
	f.Add("aes256-gcm96", strings.Repeat("AAAA", 200), backup)
	f.Add("rsa-2048", "!", "e30=")
	f.Add("ed25519", "", "")
	f.Fuzz(func(t *testing.T, kind, wrapped, backup string) {
		e := &engine{t: t, store: e.store, clock: e.clock, backend: e.backend}
		a := calm(t, e, "keys/new/import", body("type", kind, "ciphertext", wrapped, "public_key", wrapped))
		if a.status == 204 {
			t.Errorf("imported %q", wrapped)
		}
		calm(t, e, "restore/other", body("backup", backup, "force", true))
	})
}
