//go:build unix

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
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
	mine, other := map[string]*party{}, map[string]*party{}
	for _, k := range kinds {
		mine[k] = &party{addr: s.Addr, pid: s.Pid(), code: 200, request: same(ours[k])}
		other[k] = &party{addr: bao.Addr, pid: bao.Pid(), code: 200, request: same(theirs[k])}
	}
	rounds := 0.0
	for b.Loop() {
		for range 4 { // short turns: other load of the machine meets both
			for _, k := range kinds {
				mine[k].turn(b, window/4)
				other[k].turn(b, window/4)
			}
			rounds++
		}
	}
	want := map[string]float64{"encrypt": 4, "decrypt": 4, "batch": 3}
	for _, k := range kinds {
		b.ReportMetric(mine[k].rate/rounds, k+"/s")
		ratio := compare(b, k+"/openbao", mine[k], other[k])
		if want[k] > 0 {
			testkit.AtLeast(b, "transit "+k+" / OpenBao", ratio, want[k])
		}
	}
	for _, k := range []string{"derived", "convergent"} {
		if mine[k] != nil && mine["encrypt"] != nil {
			b.ReportMetric(mine["encrypt"].rate/mine[k].rate, fmt.Sprintf("plain/%s", k))
		}
	}
}
