package barrier

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// compromised is a barrier whose term 1 others have: a copy of the keyring from before.
type compromised struct {
	*Barrier
	t     *testing.T
	store *inmem.Store
	root  *secret.Bytes // the new one, of generation 2
	old   *Archive      // what the others have
}

// compromise makes one with the entries of paths, which have themselves as values.
func compromise(t *testing.T, paths ...string) *compromised {
	t.Helper()
	c := &compromised{t: t, store: inmem.New(), root: newRoot(t)}
	before := newRoot(t)
	c.Barrier = formatted(t, c.store, before, Options{})
	for _, path := range paths {
		put(t, c.Barrier, path, path)
	}
	record, err := c.store.Get(t.Context(), KeyringPath)
	if err == nil {
		c.old, err = OpenArchive(record, before, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.old.Close)
	tx := c.Begin()
	tx.RotateKeyring()
	tx.ReplaceRoot(c.root, 2)
	tx.Distrust(2)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// plant stores an entry that the others sealed.
func (c *compromised) plant(path, value string) []byte {
	c.t.Helper()
	record := c.old.Seal(path, []byte(value))
	err := c.store.Commit(c.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(path, record)}})
	if err != nil {
		c.t.Fatal(err)
	}
	return record
}

// refuses wants that an entry does not open at each barrier, with the reason.
func (c *compromised) refuses(path string, all ...*Barrier) {
	c.t.Helper()
	for i, b := range all {
		_, err := b.Get(c.t.Context(), path)
		if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "may be known to others") {
			c.t.Errorf("barrier %d: the planted entry %q: %v", i, path, err)
		}
	}
}

func (c *compromised) again() *Barrier { return unsealed(c.t, c.store, c.root, 2) }

// rewrapControl re-encrypts the control records, and refuses old ones from then on.
func (c *compromised) rewrapControl() {
	c.t.Helper()
	paths, err := c.NextControl(c.t.Context(), "", 1000)
	if err == nil {
		err = c.Settled(2)
	}
	if err == nil {
		_, err = c.Rewrap(c.t.Context(), paths)
	}
	if err == nil {
		err = c.RefuseOld(c.t.Context())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *compromised) version() byte {
	c.t.Helper()
	record, err := c.store.Get(c.t.Context(), KeyringPath)
	if err != nil {
		c.t.Fatal(err)
	}
	return record[0]
}

// TestDistrustedTerms: from the commit that distrusts a term until it is destroyed, the keyring
// names it. Its control records open until they are re-encrypted, and never again.
func TestDistrustedTerms(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a", "auth/token/t", "credential/m/u", "logical/m/1", "logical/m/2", "sys/z")
	forged := c.old.Seal("auth/batch", []byte("token"))
	for _, b := range []*Barrier{c.Barrier, c.again()} {
		holds(t, b, "core/a", "core/a")
		if before, refused := b.Distrusted(); before != 2 || refused || c.version() != keyringDistrust {
			t.Fatalf("before %d, %v", before, refused)
		}
		if _, err := b.OpenEntry("auth/batch", forged); !errors.Is(err, ErrNotOurs) {
			t.Errorf("a sealed entry of a distrusted term: %v", err)
		}
	}
	paths, err := c.NextControl(t.Context(), "", 1000)
	if err != nil || slices.ContainsFunc(paths, func(p string) bool { return !IsControl(p) }) ||
		!slices.Contains(paths, "sys/z") || !slices.Contains(paths, "credential/m/u") {
		t.Fatalf("control records %q, %v", paths, err)
	}
	c.rewrapControl()
	all := []*Barrier{c.Barrier, c.again()}
	for _, path := range []string{"core/a", "auth/token/t", "credential/m/u", "sys/z", "core/new"} {
		if path != "core/new" {
			holds(t, c.Barrier, path, path)
		}
		c.plant(path, "planted")
		c.refuses(path, all...)
	}
	holds(t, c.Barrier, "logical/m/1", "logical/m/1")

	// A rewrap does not take up what is refused, so the term stays until that is removed.
	done := rewrapAll(t, c.Barrier, 16)
	if len(done.Damaged) != 5 || done.Entries != 2 {
		t.Errorf("rewrapped %+v", done)
	}
	if _, err := c.Retire(t.Context(), 2, c.store, noPace, nil); !errors.Is(err, ErrTermInUse) {
		t.Fatalf("retired beside planted entries: %v", err)
	}
	for _, path := range done.Damaged {
		put(t, c.Barrier, path, path)
	}
	if _, err := c.Retire(t.Context(), 2, c.store, noPace, nil); err != nil {
		t.Fatal(err)
	}
	if before, refused := c.again().Distrusted(); before != 0 || refused || c.version() != keyringVersion {
		t.Errorf("after the retirement: before %d, %v, version %d", before, refused, c.version())
	}
}

// TestSecondCompromise: what is refused since the first one stays refused, and the terms between
// open until they are re-encrypted.
func TestSecondCompromise(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a", "logical/m/1")
	c.rewrapControl()
	c.RefuseUpTo("logical/m/1", 2)
	put(t, c.Barrier, "logical/m/1", "by term 2")
	tx := c.Begin()
	tx.RotateKeyring()
	tx.ReplaceRoot(c.root, 3)
	tx.Distrust(3)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, c.Barrier, "core/a", "core/a")
	holds(t, c.Barrier, "logical/m/1", "by term 2")
	c.plant("core/a", "planted")
	c.refuses("core/a", c.Barrier, unsealed(t, c.store, c.root, 3))
	if before, refused := c.Distrusted(); before != 3 || refused {
		t.Errorf("before %d, %v", before, refused)
	}
	put(t, c.Barrier, "core/a", "core/a")
	c.rewrapControl()
	if before, refused := c.Distrusted(); before != 3 || !refused {
		t.Errorf("before %d, %v", before, refused)
	}
}

// TestDataPutBackAfterTheRewrap: the barrier that re-encrypts the data refuses what is put back
// behind it, and re-encrypts it in no later pass.
func TestDataPutBackAfterTheRewrap(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a", "logical/m/1", "logical/m/2", "logical/n/1")
	c.rewrapControl()
	if _, err := c.Rewrap(t.Context(), []string{"logical/m/1", "logical/m/2"}); err != nil {
		t.Fatal(err)
	}
	c.RefuseUpTo("logical/m/2", 2)
	c.RefuseUpTo("logical/m/1", 2) // of a later pass
	c.plant("logical/m/1", "planted")
	c.plant("logical/m/0", "planted")
	c.refuses("logical/m/1", c.Barrier)
	c.refuses("logical/m/0", c.Barrier)
	holds(t, c.Barrier, "logical/n/1", "logical/n/1")
	if done := rewrapAll(t, c.Barrier, 2); !slices.Equal(done.Damaged, []string{"logical/m/0", "logical/m/1"}) {
		t.Errorf("rewrapped %+v", done)
	}
}

// TestPlantedCensusAndCounts: records of the barrier itself that a distrusted term sealed are none.
func TestPlantedCensusAndCounts(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a")
	encryptions := c.KeyStatus().Encryptions
	if err := c.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.plant(censusPath, string(tallies{}.marshal(2, encryptions)))
	c.plant(countsPath, string(marshalCounts([]*term{{id: 2}}, []uint64{1})))
	b := c.again()
	if err := b.LoadCensus(t.Context()); err != nil {
		t.Fatal(err)
	}
	if census := b.Census(); census.Known {
		t.Errorf("the planted census is believed: %+v", census)
	}
	if used := b.KeyStatus().Encryptions; used < maxOperations {
		t.Errorf("the planted counts are believed: %d encryptions", used)
	}
}

// TestSettledWaitsForWriters: a writer that chose the old term may commit after the new one is
// stored; Settled returns after that.
func TestSettledWaitsForWriters(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a")
	c.writing.RLock() // as a writer in progress
	done := make(chan error, 1)
	go func() { done <- c.Settled(2) }()
	select {
	case err := <-done:
		t.Errorf("Settled returned %v while a writer was in progress", err)
	default:
	}
	c.writing.RUnlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.Fence(7)
	c.census.doubt(c.Barrier, []storage.Op{storage.Put("core/a", c.old.Seal("core/a", nil))})
	if err := c.Settled(2); !errors.Is(err, ErrUnsettled) {
		t.Errorf("with a commit of unknown outcome: %v", err)
	}
}

// TestDistrustIsOneCommit: the keyring is changed whole, or not at all.
func TestDistrustIsOneCommit(t *testing.T) {
	t.Parallel()
	c := compromise(t, "core/a")
	was, err := c.store.Get(t.Context(), KeyringPath)
	if err != nil {
		t.Fatal(err)
	}
	tx := c.Begin()
	tx.Distrust(9)
	if err := tx.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "has no term 9") {
		t.Errorf("distrusting before a term that is not there: %v", err)
	}
	now, err := c.store.Get(t.Context(), KeyringPath)
	if err != nil || !bytes.Equal(was, now) {
		t.Errorf("the keyring was changed, or %v", err)
	}
	holds(t, c.Barrier, "core/a", "core/a")
}
