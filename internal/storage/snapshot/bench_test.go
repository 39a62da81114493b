package snapshot_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// BenchmarkSave compares a snapshot with the reading of all entries. The values are random, as
// ciphertexts are.
func BenchmarkSave(b *testing.B) {
	store, err := bbolt.Open(b.Context(), filepath.Join(b.TempDir(), "data"), bbolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	size := 0
	for i := range 2000 {
		var batch storage.Batch
		for j := range storage.MaxOps {
			value := make([]byte, 120)
			_, _ = rand.Read(value)
			key := fmt.Sprintf("logical/4dc32b69-37ee-4ac7-a08a-dd47aaeadb38/v1/folder/%05d/%03d", i, j)
			batch.Ops = append(batch.Ops, storage.Put(key, value))
			size += len(key) + len(value)
		}
		if err := store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	proof := snapshot.Proof{Seal: func(sums []byte) ([]byte, error) { return sums, nil }}
	var raw, save time.Duration
	for b.Loop() {
		begun := time.Now()
		err := store.(storage.Snapshotter).Snapshot(b.Context(), func(string, []byte) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		raw += time.Since(begun)
		begun = time.Now()
		if _, err := snapshot.Save(context.Background(), io.Discard, store, snapshot.Meta{}, proof); err != nil {
			b.Fatal(err)
		}
		save += time.Since(begun)
	}
	b.ReportMetric(float64(raw)/float64(save), "save/raw")
	b.ReportMetric(float64(b.N)*float64(size)/1e6/save.Seconds(), "MB/s")
	b.ReportMetric(float64(b.N)*float64(size)/1e6/raw.Seconds(), "rawMB/s")
}
