package kv

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestScanInPages: pages of a scan, of any size, join to the whole scan, although names around a
// folder sort before and after its slash; and no folder is read further than the page needs.
func TestScanInPages(t *testing.T) {
	t.Parallel()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	want := []string{"a", "b", "b!", "b/c", "b/c/d", "b/c!", "b/e", "b0", "c/d/e/f", "z"}
	for i := range 30 {
		want = append(want, fmt.Sprintf("many/%02d", i), fmt.Sprintf("many/%02d/x", i))
	}
	for _, name := range want {
		put := storage.Batch{Ops: []storage.Op{storage.Put(name, []byte("v"))}}
		if err := store.Commit(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	most := 0
	l := lister(func(ctx context.Context, folder, after string, limit int) ([]string, error) {
		names, err := store.List(ctx, folder, after, limit)
		most = max(most, len(names))
		return names, err
	})
	whole, err := l.tree(t.Context(), "", page{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(whole)); !slices.Equal(got, want) {
		t.Errorf("the whole scan is %q; want %q", got, want)
	}
	for limit := 1; limit < 8; limit++ {
		most = 0
		var joined []string
		for after := ""; ; {
			part, err := l.tree(t.Context(), "", page{after, limit})
			if err != nil || len(part) > limit {
				t.Fatalf("limit %d: %q, %v", limit, part, err)
			}
			joined = append(joined, part...)
			if len(part) < limit {
				break
			}
			after = part[len(part)-1]
		}
		if !slices.Equal(joined, whole) {
			t.Errorf("limit %d:\n%s\nwant\n%s", limit, strings.Join(joined, " "), strings.Join(whole, " "))
		}
		if most > limit {
			t.Errorf("limit %d: %d names of a folder were read at once", limit, most)
		}
	}
}
