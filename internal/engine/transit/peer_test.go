//go:build unix

package transit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// moved are the keys that go from one server to the other and back, and what is done with each.
var moved = []struct{ name, create, use string }{
	{"aes256", `"type":"aes256-gcm96"`, "encrypt"},
	{"aes128", `"type":"aes128-gcm96"`, "encrypt"},
	{"chacha", `"type":"chacha20-poly1305"`, "encrypt"},
	{"xchacha", `"type":"xchacha20-poly1305"`, "encrypt"},
	{"derived", `"type":"aes256-gcm96","derived":true`, "encrypt"},
	{"derivedx", `"type":"xchacha20-poly1305","derived":true`, "encrypt"},
	{"convergent", `"type":"aes256-gcm96","derived":true,"convergent_encryption":true`, "encrypt"},
	{"convergent128", `"type":"aes128-gcm96","derived":true,"convergent_encryption":true`, "encrypt"},
	{"convergentx", `"type":"xchacha20-poly1305","derived":true,"convergent_encryption":true`, "encrypt"},
	{"rsa2048", `"type":"rsa-2048"`, "both"},
	{"p256", `"type":"ecdsa-p256"`, "sign"},
	{"p384", `"type":"ecdsa-p384"`, "sign"},
	{"p521", `"type":"ecdsa-p521"`, "sign"},
	{"ed", `"type":"ed25519"`, "sign"},
	{"edderived", `"type":"ed25519","derived":true`, "sign"},
	{"hmac", `"type":"hmac","key_size":64`, "hmac"},
}

// requests are those of one of the two servers.
type requests func(method, path, body string) map[string]any

// use makes what a key makes, and checks gives the requests that must find it good.
func use(do requests, name, kind string) (checks [][2]string) {
	const extra = `"context":"Y29udGV4dA==",`
	text := func(field, path, body string) string {
		return fmt.Sprint(do("POST", "transit/"+path+"/"+name, body)[field])
	}
	if kind == "encrypt" || kind == "both" {
		c := text("ciphertext", "encrypt", `{`+extra+`"plaintext":"aGVsbG8="}`)
		checks = append(checks, [2]string{"decrypt", `{` + extra + `"ciphertext":"` + c + `"}`})
	}
	if kind == "sign" || kind == "both" {
		for _, more := range []string{"", `"marshaling_algorithm":"jws",`, `"hash_algorithm":"sha2-512","signature_algorithm":"pkcs1v15",`} {
			s := text("signature", "sign", `{`+extra+more+`"input":"aGVsbG8="}`)
			checks = append(checks, [2]string{"verify", `{` + extra + more + `"input":"aGVsbG8=","signature":"` + s + `"}`})
		}
	}
	h := text("hmac", "hmac", `{"input":"aGVsbG8="}`)
	return append(checks, [2]string{"verify", `{"input":"aGVsbG8=","hmac":"` + h + `"}`})
}

func good(t *testing.T, do requests, name string, checks [][2]string) {
	t.Helper()
	for _, c := range checks {
		got := do("POST", "transit/"+c[0]+"/"+name, c[1])
		if c[0] == "decrypt" && got["plaintext"] != "aGVsbG8=" || c[0] == "verify" && got["valid"] != true {
			t.Errorf("%s of %s: %v for %s", c[0], name, got, c[1])
		}
	}
}

// TestBackupsOfOpenBao moves keys from a real OpenBao here, and back: what one has encrypted,
// signed or authenticated, in each version that it has, is good at the other.
func TestBackupsOfOpenBao(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	bao.Mount("transit")
	e := newEngine(t)
	there := func(method, path, body string) map[string]any { return bao.Must(method, path, raw(body)) }
	here := func(method, path, body string) map[string]any {
		return e.must(method, strings.TrimPrefix(path, "transit/"), body)
	}
	for _, k := range moved {
		there("POST", "transit/keys/"+k.name, `{"exportable":true,"allow_plaintext_backup":true,`+k.create+`}`)
		checks := use(there, k.name, k.use)
		there("POST", "transit/keys/"+k.name+"/rotate", `{}`)
		checks = append(checks, use(there, k.name, k.use)...)
		backup := there("GET", "transit/backup/"+k.name, "")["backup"].(string)
		here("POST", "transit/restore", `{"backup":"`+backup+`"}`)
		good(t, here, k.name, checks)

		here("POST", "transit/keys/"+k.name+"/rotate", "")
		checks = append(checks, use(here, k.name, k.use)...)
		backup = here("GET", "transit/backup/"+k.name, "")["backup"].(string)
		there("POST", "transit/restore/"+k.name+"-back", `{"backup":"`+backup+`"}`)
		good(t, there, k.name+"-back", checks)
	}
}

// TestWrappedKeys moves keys by import and byok-export between the two.
func TestWrappedKeys(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	bao.Mount("transit")
	e := newEngine(t)
	there := func(method, path, body string) map[string]any { return bao.Must(method, path, raw(body)) }
	here := func(method, path, body string) map[string]any {
		return e.must(method, strings.TrimPrefix(path, "transit/"), body)
	}
	for from, to := range map[string][2]requests{"there": {there, here}, "here": {here, there}} {
		src, dst := to[0], to[1]
		wrapping := dst("GET", "transit/wrapping_key", "")["public_key"].(string)
		src("POST", "transit/keys/target/import", body("type", "rsa-4096", "public_key", wrapping))
		for _, typ := range []string{"aes256-gcm96", "aes128-gcm96", "xchacha20-poly1305", "ecdsa-p384",
			"ed25519", "rsa-2048"} {
			src("POST", "transit/keys/"+typ, body("type", typ, "exportable", true))
			kind := "encrypt"
			if typ[0] == 'e' {
				kind = "sign"
			}
			checks := use(src, typ, kind)
			wrapped := src("GET", "transit/byok-export/target/"+typ, "")["keys"].(map[string]any)["1"]
			dst("POST", "transit/keys/"+typ+"-i/import", body("type", typ, "ciphertext", wrapped))
			good(t, dst, typ+"-i", checks[:len(checks)-1]) // an import has an HMAC key of its own
		}
		t.Log("from", from)
	}
}

// TestDerivedKeys: ECDH gives both servers the same key.
func TestDerivedKeys(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	bao.Mount("transit")
	e := newEngine(t)
	there := func(method, path, body string) map[string]any { return bao.Must(method, path, raw(body)) }
	here := func(method, path, body string) map[string]any {
		return e.must(method, strings.TrimPrefix(path, "transit/"), body)
	}
	public := func(k map[string]any) string {
		return k["keys"].(map[string]any)["1"].(map[string]any)["public_key"].(string)
	}
	for _, curve := range []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521"} {
		a := public(there("POST", "transit/keys/"+curve, body("type", curve)))
		b := public(here("POST", "transit/keys/"+curve, body("type", curve)))
		for _, typ := range []string{"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"} {
			name := curve + "-" + typ
			there("POST", "transit/derive-key/"+name, body("base_key_name", curve, "peer_public_key", b,
				"derived_key_type", typ))
			here("POST", "transit/derive-key/"+name, body("base_key_name", curve, "peer_public_key", a, "derived_key_type", typ))
			good(t, here, name, use(there, name, "encrypt")[:1])
		}
	}
}

func raw(body string) any {
	if body == "" {
		return nil
	}
	return rawJSON(body)
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }
