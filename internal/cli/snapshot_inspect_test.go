package cli

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// TestInspectBreakGlass: a break-glass record of the root key in the snapshot is shown; one that is
// damaged or of another root key is a warning.
func TestInspectBreakGlass(t *testing.T) {
	t.Parallel()
	set, _, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, rand.Reader, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	glass := func(cluster string, generation uint64) []byte {
		r := &recovery.BreakGlass{Cluster: cluster, Generation: generation, ShareSet: set.Public().Marshal(),
			Tag: make([]byte, 32)}
		return r.Marshal()
	}
	for name, c := range map[string]struct {
		record        []byte
		shown, warned string
	}{
		"none":               {},
		"enrolled":           {record: glass("one", 4), shown: "2 of 3 shares, generation 1"},
		"another cluster":    {record: glass("two", 4), warned: "is of another root key (cluster two, generation 4)"},
		"another generation": {record: glass("one", 3), warned: "is of another root key (cluster one, generation 3)"},
		"damaged":            {record: glass("one", 4)[:40], warned: "cannot be read"},
	} {
		store := inmem.New()
		ops := []storage.Op{storage.Put("core/x", []byte("1"))}
		if c.record != nil {
			ops = append(ops, storage.Put(node.BreakGlassKey, c.record))
		}
		if err := store.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		proof := snapshot.Proof{Seal: func(sums []byte) ([]byte, error) { return sums, nil }}
		if _, err := snapshot.Save(t.Context(), &archive, store, snapshot.Meta{ClusterID: "one"}, proof); err != nil {
			t.Fatal(err)
		}
		info, records, err := readSnapshot(&archive)
		if err != nil {
			t.Fatal(err)
		}
		records.sealed = &seals.Record{Cluster: "one", Generation: 4}
		got := describe(info, records)
		if warnings := strings.Join(got.Warnings, "\n"); got.BreakGlass != c.shown || !strings.Contains(warnings, c.warned) ||
			strings.Contains(warnings, "break-glass") != (c.warned != "") {
			t.Errorf("%s: %q, warnings %q", name, got.BreakGlass, warnings)
		}
	}
}
