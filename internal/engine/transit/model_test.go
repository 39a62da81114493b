package transit

import (
	"encoding/base64"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestModelOfVersions encrypts, signs, rotates, configures and trims as it happens, and holds the
// engine against a model that knows versions alone: what may be decrypted is, and nothing else.
func TestModelOfVersions(t *testing.T) {
	t.Parallel()
	types := []string{"aes256-gcm96", "aes128-gcm96", "chacha20-poly1305", "xchacha20-poly1305"}
	rapid.Check(t, func(rt *rapid.T) {
		e := newEngine(t)
		derived := rapid.Bool().Draw(rt, "derived")
		convergent := derived && rapid.Bool().Draw(rt, "convergent")
		e.must("POST", "keys/k", body("type", rapid.SampledFrom(types).Draw(rt, "type"), "derived", derived,
			"convergent_encryption", convergent))
		m := model{latest: 1, dec: 1}
		var made []sealedText
		steps := map[string]func(*rapid.T){
			"encrypt": func(rt *rapid.T) {
				plain := base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "plain"))
				version := rapid.IntRange(-1, m.latest+1).Draw(rt, "version")
				a := e.do("POST", "encrypt/k", body("plaintext", plain, "context", "Yw==", "associated_data", "YQ==",
					"key_version", version))
				if ok := m.encrypts(version); ok != (a.status == 200) {
					rt.Fatalf("encrypt by version %d: %d %s; model %+v", version, a.status, a.body, m)
				}
				if a.status != 200 {
					return
				}
				if version == 0 {
					version = m.latest
				}
				made = append(made, sealedText{version, plain, stringOf(rt, a, "ciphertext")})
			},
			"rotate": func(*rapid.T) { e.must("POST", "keys/k/rotate", ""); m.latest++ },
			"configure": func(rt *rapid.T) {
				dec, enc := rapid.IntRange(0, m.latest+1).Draw(rt, "dec"), rapid.IntRange(0, m.latest+1).Draw(rt, "enc")
				a := e.do("POST", "keys/k/config", body("min_decryption_version", dec, "min_encryption_version", enc))
				if ok := m.configure(max(dec, 1), enc); ok != (a.status == 200) {
					rt.Fatalf("config %d, %d: %d %s; model %+v", dec, enc, a.status, a.body, m)
				}
			},
			"trim": func(rt *rapid.T) {
				to := rapid.IntRange(0, m.latest+1).Draw(rt, "to")
				a := e.do("POST", "keys/k/trim", body("min_available_version", to))
				if ok := m.trim(to); ok != (a.status == 200) {
					rt.Fatalf("trim %d: %d %s; model %+v", to, a.status, a.body, m)
				}
			},
			"open again": func(*rapid.T) { e = openEngine(t, e.store, e.clock) },
			"rewrap": func(rt *rapid.T) {
				if len(made) == 0 {
					return
				}
				one := rapid.SampledFrom(made).Draw(rt, "which")
				a := e.do("POST", "rewrap/k", body("ciphertext", one.cipher, "context", "Yw==", "associated_data", "YQ=="))
				if ok := one.version >= m.dec; ok != (a.status == 200) {
					rt.Fatalf("rewrap of version %d: %d %s; model %+v", one.version, a.status, a.body, m)
				}
				if a.status == 200 {
					made = append(made, sealedText{m.latest, one.plain, stringOf(rt, a, "ciphertext")})
				}
			},
			"": func(rt *rapid.T) {
				for _, one := range made {
					a := e.do("POST", "decrypt/k", body("ciphertext", one.cipher, "context", "Yw==", "associated_data", "YQ=="))
					if ok := one.version >= m.dec; ok != (a.status == 200) {
						rt.Fatalf("decrypt of version %d: %d %s; model %+v", one.version, a.status, a.body, m)
					}
					if a.status == 200 && stringOf(rt, a, "plaintext") != one.plain {
						rt.Fatalf("%q became %s", one.plain, a.body)
					}
				}
			},
		}
		rt.Repeat(steps)
	})
}

type sealedText struct {
	version       int
	plain, cipher string
}

// model is what a key's versions are.
type model struct{ latest, dec, enc, avail int }

func (m *model) encrypts(n int) bool {
	return n == 0 || n > 0 && n <= m.latest && n >= m.enc && n >= m.avail
}

func (m *model) configure(dec, enc int) bool {
	if dec > m.latest || enc > m.latest || enc > 0 && enc < dec || dec < m.avail || enc < m.avail {
		return false
	}
	m.dec, m.enc = dec, enc
	return true
}

func (m *model) trim(to int) bool {
	if to < 1 || to < m.avail || m.enc == 0 || to > m.enc || to > m.dec {
		return false
	}
	m.avail = to
	return true
}

func stringOf(rt *rapid.T, a answer, name string) string {
	var out map[string]any
	if err := decodeJSON(a.body, &out); err != nil {
		rt.Fatalf("%s: %v", a.body, err)
	}
	return fmt.Sprint(out[name])
}
