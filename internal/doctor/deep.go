package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
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
		on.fail("overwrite or delete these entries, or restore a snapshot; `operator snapshot save -skip-damaged` saves "+
			"the rest", "%d of %d entries are damaged: %s", len(names), read+len(names), list(names))
	case sums:
		on.ok("all %d entries match their checksums", read)
	default:
		on.ok("all %d entries can be read; the database checks its own pages", read)
	}
}

func list(names []string) string {
	text := strings.Join(names[:min(len(names), mostNamed)], ", ")
	if n := len(names) - mostNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// verify decrypts every entry of the storage, as -deep asks for, with the seals that decrypt the
// stored root key.
func (e *exam) verify(ctx context.Context, would []string) {
	if !e.Deep || !e.read || e.record == nil {
		return
	}
	s := e.cfg.Storage
	on := e.on("storage", s.Type, s.Pos)
	if s.Path != "" {
		on.about = s.Path
	}
	if !e.record.Plan().OpensWith(would) {
		on.ok("its entries were not decrypted: that needs the unseal shares, or more seals than decrypt the stored root " +
			"key; `operator snapshot verify` of a snapshot does it on the running server")
		return
	}
	root, err := e.rootKey(ctx, would)
	if err != nil {
		on.fail("see the findings of the seals", "its entries were not decrypted: %v", err)
		return
	}
	defer root.Destroy()
	read, names, err := e.decryptAll(ctx, root)
	switch {
	case err != nil:
		on.fail("try again, if the root key was rotated meanwhile; otherwise restore a snapshot",
			"decrypting all entries ended after %d: %v", read, err)
	case len(names) > 0:
		on.fail("overwrite or delete these entries, or restore a snapshot", "%d of %d entries do not decrypt: they were "+
			"changed, or moved from another place: %s", len(names), read+len(names), list(names))
	default:
		on.ok("all %d entries decrypt", read)
	}
}

// rootKey decrypts the stored root key, as the server does at its start.
func (e *exam) rootKey(ctx context.Context, would []string) (*secret.Bytes, error) {
	var members []seals.Seal
	for _, s := range e.cfg.Seals {
		if !slices.Contains(would, s.Name) {
			continue
		}
		w, err := e.Factories[s.Type](e.harmless(s))
		if err != nil {
			return nil, err
		}
		members = append(members, seals.Seal{Name: s.Name, Type: s.Type, Wrapper: w})
	}
	set, err := seals.NewSet(members, seals.Options{Deadline: e.Deadline, Now: e.Now, AllowPolicyChange: true})
	if err != nil {
		return nil, err
	}
	defer set.Close() //nolint:errcheck // a library that hangs was reported before
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	return set.Unwrap(ctx, e.record, nil)
}

// decryptAll reads and decrypts all entries. Those that do not decrypt are looked at again at the
// end: a running server may have rotated its keyring, and changed or deleted entries.
func (e *exam) decryptAll(ctx context.Context, root *secret.Bytes) (read int, names []string, err error) {
	r, err := e.Open(ctx, e.cfg.Storage)
	if err != nil {
		return 0, nil, err
	}
	defer r.Close()
	entries, err := node.OpenEntries(ctx, r.Get, root, e.record.Generation)
	if err != nil {
		return 0, nil, err
	}
	defer func() { entries.Close() }()
	visit := func(key string, value []byte) error {
		if read++; entries.Check(key, value) != nil {
			names = append(names, key)
		}
		return nil
	}
	switch s := r.(type) {
	case storage.Scrubber:
		err = s.SnapshotIntact(ctx, visit, func(string) {}) // those are reported by their checksums
	case storage.Snapshotter:
		err = s.Snapshot(ctx, visit)
	}
	read -= len(names)
	if err != nil || len(names) == 0 {
		return read, nil, err
	}
	entries.Close()
	if entries, err = node.OpenEntries(ctx, r.Get, root, e.record.Generation); err != nil {
		return read, nil, err
	}
	names = slices.DeleteFunc(names, func(key string) bool {
		value, failed := r.Get(ctx, key)
		if failed != nil && !errors.Is(failed, storage.ErrNotFound) {
			err = failed
		}
		return errors.Is(failed, storage.ErrNotFound) || failed == nil && entries.Check(key, value) == nil
	})
	return read, names, err
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
