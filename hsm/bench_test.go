//go:build cgo && !windows

package hsm_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/hsmtest"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
)

// benchKey opens the token's key "wrap" with an isolation.
func benchKey(b *testing.B, tok *softhsm.Token, isolation hsm.Isolation) *hsm.Key {
	b.Helper()
	cfg := tok.Config()
	cfg.Isolation = isolation
	t, err := hsm.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { t.Close() })
	key, err := t.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := key.Describe(context.Background()); err != nil {
		b.Fatal(err)
	}
	return key
}

// roundTrip wraps and unwraps 32 bytes.
func roundTrip(key *hsm.Key, plain, aad []byte) error {
	sealed, err := key.Encrypt(context.Background(), plain, aad)
	if err != nil {
		return err
	}
	_, err = key.Decrypt(context.Background(), sealed, aad)
	return err
}

// BenchmarkWrapUnwrap compares wrapping and unwrapping 32 bytes through this package, in this
// process, with a bare loop on miekg/pkcs11 that has a session for each goroutine. The two
// alternate in one run. ratio is ours to theirs in operations per second.
func BenchmarkWrapUnwrap(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	key := benchKey(b, tok, hsm.InProcess)
	bare := hsmtest.NewBare(b, tok)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sessions := bare.Open(b, workers, "wrap")
			ratio := hsmtest.Compare(b, workers, func(int) error { return roundTrip(key, plain, aad) },
				func(i int) error { return bare.RoundTrip(sessions[i], plain, aad) })
			if workers == 1 {
				testkit.AtLeast(b, "hsm at one caller / a bare loop on the library", ratio, 0.9)
			}
		})
	}
}

// BenchmarkIsolation compares the library in a child process with the library in this process.
// ratio is the former to the latter in operations per second.
func BenchmarkIsolation(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	child, own := benchKey(b, tok, hsm.Process), benchKey(b, tok, hsm.InProcess)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			hsmtest.Compare(b, workers, func(int) error { return roundTrip(child, plain, aad) },
				func(int) error { return roundTrip(own, plain, aad) })
		})
	}
}

// BenchmarkIsolationLatency reports the median time of one encryption by one caller, with and
// without a child process.
func BenchmarkIsolationLatency(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	keys := map[string]*hsm.Key{"child": benchKey(b, tok, hsm.Process), "own": benchKey(b, tok, hsm.InProcess)}
	times := map[string][]time.Duration{}
	for b.Loop() {
		for name, key := range keys {
			for range 100 {
				start := time.Now()
				if _, err := key.Encrypt(context.Background(), plain, aad); err != nil {
					b.Fatal(err)
				}
				times[name] = append(times[name], time.Since(start))
			}
		}
	}
	for name, list := range times {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Nanoseconds())/1000, name+"-p50-µs")
	}
}
