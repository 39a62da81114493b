package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

// mostNamed bounds the damaged entries that a finding names.
const mostNamed = 20

// scan reads every entry of a storage, as -deep asks for. It has no deadline: a large storage takes
// minutes.
func (e *exam) scan(ctx context.Context, on topic, r Reader) {
	if !e.Deep {
		return
	}
	read := 0
	visit := func(string, []byte) error { read++; return nil }
	var names []string
	var err error
	sums := true
	switch s := r.(type) {
	case storage.Scrubber:
		err = s.SnapshotIntact(ctx, visit, func(key string) { names = append(names, key) })
	case storage.Snapshotter:
		sums = false
		err = s.Snapshot(ctx, visit)
	default:
		return
	}
	switch {
	case err != nil:
		on.fail("restore a snapshot, as internal/storage/README.md describes", "reading all entries ended after %d: %v",
			read, err)
	case len(names) > 0:
		more := ""
		if n := len(names) - mostNamed; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		on.fail("overwrite or delete these entries, or restore a snapshot; `operator snapshot save -skip-damaged` saves "+
			"the rest", "%d of %d entries are damaged: %s%s", len(names), read+len(names),
			strings.Join(names[:min(len(names), mostNamed)], ", "), more)
	case sums:
		on.ok("all %d entries match their checksums", read)
	default:
		on.ok("all %d entries can be read; the database checks its own pages", read)
	}
}

// pooled is implemented by a store that notices a connection pooler.
type pooled interface{ Pooled() bool }

// outage reports why calls of the running server's storage fail.
func (e *exam) outage(on topic) {
	if e.running == nil || e.running.failure.Class == "" {
		return
	}
	f := e.running.failure
	text := f.Class
	if f.Cause != "" {
		text += ": " + f.Cause
	}
	on.fail(f.Remedy, "the running server's calls of it fail: %s", text)
}

// storageFailure is that of sys/seal-status.
type storageFailure struct {
	Class  string `json:"class"`
	Remedy string `json:"remedy"`
	Cause  string `json:"cause"`
}
