package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkKVVersion2 compares reads of version 2, of a value within the secret's record and of one
// outside of it, with version 1 and with the server's own sys/health; and writes of version 2 with
// those of version 1. On 16 kept connections, without audit.
func BenchmarkKVVersion2(b *testing.B) {
	s := benchHarness(b, buildPlain(b))
	token := benchInit(b, s)
	benchDo(b, s, token, 204, "POST", "sys/mounts/v2", map[string]string{"type": "kv-v2"}, nil)
	for path, size := range map[string]int{"small": 64, "large": 8 << 10} {
		body := map[string]any{"data": map[string]string{"v": strings.Repeat("x", size)}}
		benchDo(b, s, token, 200, "PUT", "v2/data/"+path, body, nil)
	}
	const value = `{"v":"0123456789012345678901234567890123456789"}`
	kinds := []struct {
		name    string
		code    int
		request func(c, i int) string
	}{
		{"health", 200, same(getRequest("sys/health", ""))},
		{"v1", 200, same(getRequest("kv/one", token))},
		{"v2", 200, same(getRequest("v2/data/small", token))},
		{"v2-8KiB", 200, same(getRequest("v2/data/large", token))},
		{"v1-writes", 204, func(c, i int) string { return putRequest(fmt.Sprintf("kv/w%d/%d", c, i%100), token, value) }},
		{"v2-writes", 200, func(c, i int) string {
			return putRequest(fmt.Sprintf("v2/data/w%d/%d", c, i%100), token, `{"data":`+value+`}`)
		}},
	}
	sums := map[string]float64{}
	rounds := 0.0
	for b.Loop() {
		for range 4 { // short turns: the machine's moods meet all
			for _, k := range kinds {
				r, _ := load(b, s.Addr, 16, window/4, k.code, k.request)
				sums[k.name] += r
			}
			rounds++
		}
	}
	b.ReportMetric(sums["health"]/rounds, "health/s")
	b.ReportMetric(sums["v2"]/rounds, "reads/s")
	b.ReportMetric(sums["v2-writes"]/rounds, "writes/s")
	for _, name := range []string{"v1", "v2", "v2-8KiB"} {
		b.ReportMetric(sums[name]/sums["health"], name+"/health")
	}
	b.ReportMetric(sums["v2-writes"]/sums["v1-writes"], "v2-writes/v1-writes")
}
