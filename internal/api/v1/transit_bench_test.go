package v1

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// transitRequests are an encryption and a decryption of 32 bytes.
func transitRequests(t testing.TB, w *harness) map[string]func() {
	t.Helper()
	w.expect("mount", w.do("POST", "sys/mounts/transit", `{"type":"transit"}`), 204, "")
	if a := w.do("POST", "transit/keys/k", ""); a.Code != http.StatusOK {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	const plain = `{"plaintext":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}`
	var sealed struct{ Data struct{ Ciphertext string } }
	w.decode(w.do("POST", "transit/encrypt/k", plain), &sealed)
	out := map[string]func(){}
	batch := `{"batch_input":[` + strings.TrimSuffix(strings.Repeat(plain+",", 100), ",") + `]}`
	for name, body := range map[string]string{"encrypt/k": plain, "decrypt/k": `{"ciphertext":"` +
		sealed.Data.Ciphertext + `"}`, "encrypt/k batch": batch} {
		path, _, _ := strings.Cut(name, " ")
		r := w.request("POST", "/v1/transit/"+path, body)
		raw := []byte(body)
		again := bytes.NewReader(raw)
		a := &sink{header: http.Header{}}
		r.Body = io.NopCloser(again)
		out[name] = func() {
			again.Reset(raw)
			clear(a.header)
			if w.api.ServeHTTP(a, r); a.code != http.StatusOK {
				t.Errorf("%s: %d", path, a.code)
			}
		}
	}
	return out
}

// BenchmarkTransitHandlers is the time of the same.
func BenchmarkTransitHandlers(b *testing.B) {
	w := unsealed(b)
	for path, serve := range transitRequests(b, w) {
		b.Run(strings.ReplaceAll(path, "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}
