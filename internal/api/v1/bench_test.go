package v1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/listener"
)

const benchConnections = 16

// load makes n requests over 16 connections that are kept alive, and returns how many a second came
// back.
func load(b *testing.B, s *listener.Server, token, path string, n int) float64 {
	b.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: benchConnections, MaxConnsPerHost: benchConnections}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	url := "http://" + s.Addr().String() + "/v1/" + path
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range benchConnections {
		wg.Go(func() {
			for j := i; j < n; j += benchConnections {
				if err := get1(client, url, token); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(begin).Seconds()
}

func get1(client *http.Client, url, token string) error {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	r.Header["X-Vault-Token"] = []string{token}
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if _, err := io.Copy(io.Discard, a.Body); err != nil || a.StatusCode != 200 {
		return fmt.Errorf("%s: %d, %w", url, a.StatusCode, err)
	}
	return nil
}

// BenchmarkReadAgainstHealth compares key-value reads with sys/health, by turns in one run, so that
// the machine's moods meet both. The client shares the machine, which flatters the ratio;
// BenchmarkHandlers leaves client and network out.
func BenchmarkReadAgainstHealth(b *testing.B) {
	w := unsealed(b)
	w.expect("write", w.do("PUT", "secret/bench", `{"value":"`+strings.Repeat("x", 256)+`"}`), 204, "")
	s := serve(b, config.Listener{TLSDisable: true}, w.api)
	var health, read float64
	rounds := 0
	for b.Loop() {
		health += load(b, s, w.token, "sys/health", 4000)
		read += load(b, s, w.token, "secret/bench", 4000)
		rounds++
	}
	b.ReportMetric(health/float64(rounds), "health/s")
	b.ReportMetric(read/float64(rounds), "reads/s")
	b.ReportMetric(read/health, "read/health")
}

// sink is a response that goes nowhere.
type sink struct {
	header http.Header
	code   int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func (s *sink) WriteHeader(code int) { s.code = code }

func BenchmarkHandlers(b *testing.B) {
	w := unsealed(b)
	w.expect("write", w.do("PUT", "secret/bench", `{"value":"`+strings.Repeat("x", 256)+`"}`), 204, "")
	for _, path := range []string{"sys/health", "sys/seal-status", "secret/bench"} {
		b.Run(strings.ReplaceAll(path, "/", "_"), func(b *testing.B) {
			r := w.request("GET", "/v1/"+path, "")
			out := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(out.header)
				w.api.ServeHTTP(out, r)
			}
			if out.code != 200 {
				b.Fatal(out.code)
			}
		})
	}
}

// BenchmarkAudited is a read by sixteen at once, with a file device and without.
func BenchmarkAudited(b *testing.B) {
	for _, device := range []bool{false, true} {
		b.Run(fmt.Sprintf("device=%t", device), func(b *testing.B) {
			w := unsealed(b)
			w.expect("write", w.do("PUT", "secret/bench", `{"value":"`+strings.Repeat("x", 256)+`"}`), 204, "")
			if device {
				w.audited("")
			}
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				r := w.request("GET", "/v1/secret/bench", "")
				out := &sink{header: http.Header{}}
				for pb.Next() {
					clear(out.header)
					if w.api.ServeHTTP(out, r); out.code != 200 {
						b.Error(out.code)
					}
				}
			})
		})
	}
}
