//go:build unix

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// plain32 are 32 bytes.
const plain32 = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// transitLoad are the requests of the benchmark to one server.
func transitLoad(token string, ask func(method, path string, body any) map[string]any) map[string]string {
	ask("POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	for name, spec := range map[string]map[string]any{"k": {}, "derived": {"derived": true},
		"convergent": {"derived": true, "convergent_encryption": true}, "p256": {"type": "ecdsa-p256"}} {
		ask("POST", "transit/keys/"+name, spec)
	}
	sealed := ask("POST", "transit/encrypt/k", map[string]string{"plaintext": plain32})["ciphertext"].(string)
	item := `{"plaintext":"` + plain32 + `"}`
	batch := `{"batch_input":[` + strings.TrimSuffix(strings.Repeat(item+",", 100), ",") + `]}`
	withContext := `{"plaintext":"` + plain32 + `","context":"Y29udGV4dA=="}`
	return map[string]string{
		"encrypt":    putRequest("transit/encrypt/k", token, item),
		"decrypt":    putRequest("transit/decrypt/k", token, `{"ciphertext":"`+sealed+`"}`),
		"batch":      putRequest("transit/encrypt/k", token, batch),
		"derived":    putRequest("transit/encrypt/derived", token, withContext),
		"convergent": putRequest("transit/encrypt/convergent", token, withContext),
		"sign":       putRequest("transit/sign/p256", token, `{"input":"`+plain32+`"}`),
	}
}

// BenchmarkTransit compares the transit engine with that of a real OpenBao, by turns in one run, on
// 16 kept connections and without audit: 32 bytes, and batches of 100 of them. Derived and
// convergent keys are compared with a plain one. The load shares the machine, which makes the
// ratios smaller.
func BenchmarkTransit(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	ours := transitLoad(token, func(method, path string, body any) map[string]any {
		r, err := s.Do(b.Context(), method, path, token, body)
		var out struct{ Data map[string]any }
		if err != nil || r.Code > 299 || len(r.Body) > 0 && r.Decode(&out) != nil {
			b.Fatalf("%s %s: %d %s %v", method, path, r.Code, r.Body, err)
		}
		return out.Data
	})
	bao := openbao.Start(b)
	theirs := transitLoad(bao.Root, bao.Must)
	kinds := []string{"encrypt", "decrypt", "batch", "derived", "convergent", "sign"}
	if only := os.Getenv("TRANSIT_BENCH"); only != "" {
		kinds = strings.Split(only, ",")
	}
	rates := map[string][2]float64{}
	rounds := 0.0
	for b.Loop() {
		for range 4 { // short turns: the machine's moods meet both
			for _, k := range kinds {
				mine, _ := load(b, s.Addr, 16, window/4, 200, func(int, int) string { return ours[k] })
				other, _ := load(b, bao.Addr, 16, window/4, 200, func(int, int) string { return theirs[k] })
				rates[k] = [2]float64{rates[k][0] + mine, rates[k][1] + other}
			}
			rounds++
		}
	}
	for _, k := range kinds {
		b.ReportMetric(rates[k][0]/rounds, k+"/s")
		b.ReportMetric(rates[k][0]/rates[k][1], k+"/openbao")
	}
	for _, k := range []string{"derived", "convergent"} {
		if rates[k][0] > 0 && rates["encrypt"][0] > 0 {
			b.ReportMetric(rates["encrypt"][0]/rates[k][0], fmt.Sprintf("plain/%s", k))
		}
	}
}
