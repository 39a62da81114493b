package v1

import (
	"strings"
	"testing"
)

// BenchmarkKVHandlers is what a read costs in the server, without client and network: health,
// version 1, version 2.
func BenchmarkKVHandlers(b *testing.B) {
	w := unsealed(b)
	value := `{"value":"` + strings.Repeat("x", 256) + `"}`
	w.expect("write", w.do("PUT", "secret/bench", value), 204, "")
	w.expect("mount", w.do("POST", "sys/mounts/v2", `{"type":"kv-v2"}`), 204, "")
	w.expect("write", w.do("PUT", "v2/data/bench", `{"data":`+value+`}`), 200, "")
	for _, path := range []string{"sys/health", "secret/bench", "v2/data/bench"} {
		b.Run(strings.ReplaceAll(path, "/", "_"), func(b *testing.B) {
			r := w.request("GET", "/v1/"+path, "")
			out := &sink{}
			b.ReportAllocs()
			for b.Loop() {
				out.header = map[string][]string{}
				w.api.ServeHTTP(out, r)
			}
			if out.code != 200 {
				b.Fatal(out.code)
			}
		})
	}
}
