package barrier

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

const benchPath = "kv/team/application/password"

// alternately runs two functions by turns, so that both see the same machine, and reports how fast
// the first is in terms of the second.
func alternately(b *testing.B, measured, bare func()) {
	b.Helper()
	b.ReportAllocs()
	const turn = 200
	var ours, theirs time.Duration
	for range 3000 { // warm
		bare()
		measured()
	}
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		start := time.Now()
		for range min(turn, b.N-done) {
			measured()
		}
		ours += time.Since(start)
		b.StopTimer()
		start = time.Now()
		for range min(turn, b.N-done) {
			bare()
		}
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-bare")
}

// BenchmarkSeal encrypts 1 KiB into a new record; bare is crypto/cipher's AES-GCM with a random
// nonce and the same additional data.
func BenchmarkSeal(b *testing.B) {
	t := formatted(b, inmem.New(), newRoot(b), Options{}).ring.Load().active
	block, err := aes.NewCipher(t.key.Expose())
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	plain, aad := make([]byte, 1024), []byte(entryDomain+benchPath)
	var sink []byte
	alternately(b, func() { sink = t.seal(benchPath, plain) }, func() { sink = aead.Seal(nil, nil, plain, aad) })
	_ = sink
}

// BenchmarkOpen decrypts 1 KiB in place, from the copy of the record that a store returns; bare
// does the same with the nonce apart.
func BenchmarkOpen(b *testing.B) {
	r := formatted(b, inmem.New(), newRoot(b), Options{}).ring.Load()
	record := r.active.seal(benchPath, make([]byte, 1024))
	aad, scratch := []byte(entryDomain+benchPath), make([]byte, len(record))
	ours := func() {
		copy(scratch, record)
		if _, err := r.open(benchPath, scratch); err != nil {
			b.Fatal(err)
		}
	}
	block, err := aes.NewCipher(r.active.key.Expose())
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	bare := func() {
		copy(scratch, record)
		sealed := scratch[entryHeader+nonceSize:]
		if _, err := aead.Open(sealed[:0], scratch[entryHeader:entryHeader+nonceSize], sealed, aad); err != nil {
			b.Fatal(err)
		}
	}
	alternately(b, ours, bare)
}

// BenchmarkGetWhileRotating reads 1 KiB entries from memory, idle and with 20 rotations a second;
// p99 of both and their ratio.
func BenchmarkGetWhileRotating(b *testing.B) {
	barrier := formatted(b, inmem.New(), newRoot(b), Options{})
	for i := range 100 {
		put(b, barrier, fmt.Sprint("kv/", i), string(make([]byte, 1024)))
	}
	var idle time.Duration
	b.Run("idle", func(b *testing.B) {
		idle = readP99(b, barrier)
		b.ReportMetric(float64(idle), "p99-ns")
	})
	b.Run("rotating", func(b *testing.B) {
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for !stop.Load() {
				rotate(b, barrier)
				<-tick.C
			}
		})
		p99 := readP99(b, barrier)
		stop.Store(true)
		wg.Wait()
		b.ReportMetric(float64(p99), "p99-ns")
		b.ReportMetric(float64(p99)/float64(max(idle, 1)), "x-idle")
	})
}

func readP99(b *testing.B, barrier *Barrier) time.Duration {
	b.Helper()
	took := make([]time.Duration, b.N)
	paths := make([]string, 100)
	for i := range paths {
		paths[i] = fmt.Sprint("kv/", i)
	}
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		if _, err := barrier.Get(context.Background(), paths[i%100]); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	b.StopTimer()
	slices.Sort(took)
	return took[len(took)*99/100]
}

func BenchmarkCommit(b *testing.B) {
	barrier, value := formatted(b, inmem.New(), newRoot(b), Options{}), make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		err := barrier.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(benchPath, value)}})
		if err != nil {
			b.Fatal(err)
		}
	}
}
