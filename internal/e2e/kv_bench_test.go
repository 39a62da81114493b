package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkKVVersion2 compares reads of version 2, of a value within the secret's record and of one outside of it, with version 1 and with
// the server's own sys/health; and writes of version 2 with those of version 1. On 16 kept connections, without audit.
func BenchmarkKVVersion2(b *testing.B) {
	s := benchRig(b, buildPlain(b))
	token := benchInit(b, s)
	benchDo(b, s, token, 204, "POST", "sys/mounts/v2", map[string]string{"type": "kv-v2"}, nil)
	for path, size := range map[string]int{"small": 64, "large": 8 << 10} {
		body := map[string]any{"data": map[string]string{"v": strings.Repeat("x", size)}}
		benchDo(b, s, token, 200, "PUT", "v2/data/"+path, body, nil)
	}
	rate := func(code int, request func(c, i int) string) float64 {
		r, _ := load(b, s.Addr, 16, window, code, request)
		return r
	}
	same := func(text string) func(int, int) string { return func(int, int) string { return text } }
	const value = `{"v":"0123456789012345678901234567890123456789"}`
	for b.Loop() {
		health := rate(200, same(getRequest("sys/health", "")))
		one := rate(200, same(getRequest("kv/one", token)))
		small := rate(200, same(getRequest("v2/data/small", token)))
		large := rate(200, same(getRequest("v2/data/large", token)))
		b.ReportMetric(health, "health/s")
		b.ReportMetric(small, "reads/s")
		b.ReportMetric(one/health, "v1/health")
		b.ReportMetric(small/health, "v2/health")
		b.ReportMetric(large/health, "v2-8KiB/health")
		writes := rate(204, func(c, i int) string { return putRequest(fmt.Sprintf("kv/w%d/%d", c, i%100), token, value) })
		writes2 := rate(200, func(c, i int) string {
			return putRequest(fmt.Sprintf("v2/data/w%d/%d", c, i%100), token, `{"data":`+value+`}`)
		})
		b.ReportMetric(writes2, "writes/s")
		b.ReportMetric(writes2/writes, "v2-writes/v1-writes")
	}
}
