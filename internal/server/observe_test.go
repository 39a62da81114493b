package server

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestMeasuredStoreKeepsOptionalInterfaces checks that the wrapper has the optional interfaces of
// its store.
func TestMeasuredStoreKeepsOptionalInterfaces(t *testing.T) {
	t.Parallel()
	embedded, err := bbolt.Open(t.Context(), filepath.Join(t.TempDir(), "data"), bbolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	for name, s := range map[string]storage.Store{"bbolt": embedded, "inmem": inmem.New()} {
		counted := observeStore(s, metrics.New("", nil), slog.New(slog.DiscardHandler))
		for what, can := range map[string]func(storage.Store) bool{
			"watch":    func(s storage.Store) bool { _, ok := s.(storage.Watcher); return ok },
			"snapshot": func(s storage.Store) bool { _, ok := s.(storage.Snapshotter); return ok },
			"size":     func(s storage.Store) bool { _, ok := s.(storage.Sizer); return ok },
			"elect":    func(s storage.Store) bool { _, ok := s.(storage.Elector); return ok },
			"sequence": func(s storage.Store) bool { _, ok := s.(storage.Sequencer); return ok },
		} {
			if can(s) != can(counted) {
				t.Errorf("%s: %s is %v, and %v when measured", name, what, can(s), can(counted))
			}
		}
	}
}
