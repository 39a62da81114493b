//go:build scale

package scale

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// churnTime is how long entries are written and deleted.
const churnTime = time.Minute

// TestChurn writes and deletes in a store whose content does not grow: the file must not grow
// either. Then most of it is deleted, and a compaction gives the space back.
func TestChurn(t *testing.T) {
	n := min(wanted(t, "bbolt")/10, 100_000)
	s := newSubject(t, "bbolt")
	id := s.uuid("kv/")
	s.stop()
	s.fill(id, n)
	file := func() int64 {
		info, err := os.Stat(filepath.Join(s.Dir, "data", "sealgate.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	store, b := s.unseal()
	before := file()
	begun := time.Now()
	var wg sync.WaitGroup
	var commits [32]int
	for w := range commits {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		wg.Go(func() {
			for time.Since(begun) < churnTime {
				one, other := path(random.IntN(n)), path(random.IntN(n))
				ops := []storage.Op{storage.Put("logical/"+id+"/v1/"+one, make([]byte, random.IntN(400))),
					storage.Delete("logical/" + id + "/v1/" + other), storage.Put("logical/"+id+"/v1/"+other, make([]byte, 80))}
				if err := b.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
					t.Error(err)
					return
				}
				commits[w]++
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, c := range commits {
		sum += c
	}
	name := fmt.Sprintf("bbolt, churn over %d entries", n)
	report.note(name, "commits by 32 writers in "+churnTime.String(), "%d", sum)
	report.atMost(name, "file after that to before", float64(file())/float64(before), 2)
	gone := func(i int) storage.Op { return storage.Delete("logical/" + id + "/v1/" + path(i)) }
	if err := inBatches(t.Context(), b, n*9/10, gone); err != nil {
		t.Fatal(err)
	}
	s.closed(store, b)
	s.start()
	defer s.stop()
	full := file()
	took := s.took(200, "PUT", "sys/storage/compact", nil)
	report.atMost(name, fmt.Sprintf("file after 9 of 10 are deleted and %s of compaction", millis(took)),
		float64(file())/float64(full), 0.25)
}
