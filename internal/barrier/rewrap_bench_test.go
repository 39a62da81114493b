package barrier

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// BenchmarkCensus commits entries of 300 bytes; bare are the same commits without a census.
func BenchmarkCensus(b *testing.B) {
	for _, kind := range []string{"inmem", "bbolt"} {
		b.Run(kind, func(b *testing.B) {
			var store storage.Store = inmem.New()
			if kind == "bbolt" {
				var err error
				if store, err = bbolt.Open(context.Background(), b.TempDir(), bbolt.Options{}); err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = store.Close() })
			}
			barrier := formatted(b, store, newRoot(b), Options{})
			value := barrier.ring.Load().active.seal("logical/m/key", make([]byte, 300))
			batch := storage.Batch{Ops: []storage.Op{storage.Put("logical/m/key", value)}}
			alternately(b, func() {
				if err := barrier.commit(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}, func() {
				if err := store.Commit(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkDerivedKey seals 1 KiB by a key that is derived for each entry, as XAES-256-GCM does
// (C2SP); bare is the format in use. It shows what a format without a limit of random nonces costs.
func BenchmarkDerivedKey(b *testing.B) {
	t := formatted(b, inmem.New(), newRoot(b), Options{}).ring.Load().active
	block, err := aes.NewCipher(t.key.Expose())
	if err != nil {
		b.Fatal(err)
	}
	var k1 [16]byte
	block.Encrypt(k1[:], k1[:])
	msb := byte(0)
	for i := len(k1) - 1; i >= 0; i-- {
		msb, k1[i] = k1[i]>>7, k1[i]<<1|msb
	}
	k1[15] ^= msb * 0x87
	derive := func(nonce []byte) cipher.AEAD {
		key := make([]byte, 0, keySize)
		for i := byte(1); i <= 2; i++ {
			m := append([]byte{0, i, 'X', 0}, nonce...)
			subtle.XORBytes(m, m, k1[:])
			block.Encrypt(m, m)
			key = append(key, m...)
		}
		derived, err := aes.NewCipher(key)
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(derived) // the other half of the nonce
		if err != nil {
			b.Fatal(err)
		}
		return aead
	}
	plain, aad := make([]byte, 1024), []byte(entryDomain+benchPath)
	var sink []byte
	alternately(b, func() {
		record := make([]byte, 12, 12+entryOverhead+len(plain))
		if _, err := rand.Read(record); err != nil {
			b.Fatal(err)
		}
		sink = derive(record).Seal(record, nil, plain, aad)
	}, func() { sink = t.seal(benchPath, plain) })
	_ = sink
}
