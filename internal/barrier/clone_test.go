package barrier

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func rootKey(b byte) *secret.Bytes { return secret.New(bytes.Repeat([]byte{b}, keySize)) }

// pair is a barrier that writes, and a clone of it on another handle.
func pair(t *testing.T, handOver bool) (b, c *Barrier, hub *inmem.Hub) {
	t.Helper()
	hub = inmem.NewHub()
	var leader, standby *HandOver
	if handOver {
		standby = peer(t, "standby", nil)
		leader = peer(t, "leader", func() []Recipient { return []Recipient{{"other", standby.PublicKey()[:9]}, to(standby)} })
	}
	b, tx, err := Format(hub.Open(), rootKey(1), 1,
		Options{HandOver: leader, Now: func() time.Time { return time.Unix(1000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err = b.Clone(hub.Open()); err != nil {
		t.Fatal(err)
	}
	c.handOver = standby // as a node of its own has
	return b, c, hub
}

func peer(t *testing.T, id string, recipients func() []Recipient) *HandOver {
	t.Helper()
	h, err := NewHandOver(id, recipients)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func to(h *HandOver) Recipient { return Recipient{h.ID, h.PublicKey()} }

// TestOldRootKeyGetsNoNewOne: an attacker who has the root key before, and reads the storage,
// learns no new one; nor does a node that did not announce itself.
func TestOldRootKeyGetsNoNewOne(t *testing.T) {
	t.Parallel()
	b, c, _ := pair(t, true)
	replaceRoot(t, b, 2, 2)
	for _, id := range []string{"standby", "leader", "mallory"} {
		c.handOver = peer(t, id, nil)
		if err := c.Reload(t.Context()); !errors.Is(err, ErrWrongRoot) || c.RootGeneration() != 1 {
			t.Errorf("%s follows with the old root key: %v", id, err)
		}
	}
}

func wants(t *testing.T, b *Barrier, key, want string) {
	t.Helper()
	if got, err := b.Get(t.Context(), key); err != nil || string(got) != want {
		t.Errorf("%s: %q, %v; want %q", key, got, err, want)
	}
}

func replaceRoot(t *testing.T, b *Barrier, root byte, generation uint64) {
	t.Helper()
	tx := b.Begin()
	tx.ReplaceRoot(rootKey(root), generation)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCloneIsApart(t *testing.T) {
	t.Parallel()
	b, c, _ := pair(t, false)
	put(t, b, "a/1", "one")
	wants(t, c, "a/1", "one")
	if _, err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, b, "a/2", "two")
	wants(t, c, "a/2", "two") // of a term that it did not know
	if err := b.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, c, "a/1", "one")
	if _, err := b.Clone(inmem.New()); !errors.Is(err, ErrSealed) {
		t.Errorf("a clone of a sealed barrier: %v", err)
	}
}

// TestCloneCounts: a clone knows no counts before it has read them, and never writes less than is
// stored.
func TestCloneCounts(t *testing.T) {
	t.Parallel()
	b, c, _ := pair(t, false)
	for range 10 {
		put(t, b, "a", "v")
	}
	before := b.KeyStatus().Encryptions
	put(t, c, "a", "v") // it reads first
	if got := c.KeyStatus().Encryptions; got <= before {
		t.Errorf("%d encryptions counted after a clone's, %d before", got, before)
	}
	if err := c.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.KeyStatus().Encryptions; got <= before {
		t.Errorf("%d encryptions are stored, %d were made before the clone's", got, before)
	}
}

func TestHandOver(t *testing.T) {
	t.Parallel()
	b, c, hub := pair(t, true)
	replaceRoot(t, b, 2, 2)
	replaceRoot(t, b, 3, 3) // c has missed one generation
	if _, err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, b, "a/1", "one")
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, c, "a/1", "one")
	if !c.VerifyRoot(rootKey(3)) || c.RootGeneration() != 3 {
		t.Error("the clone has not got the new root key")
	}
	late, err := c.Clone(hub.Open())
	if err != nil {
		t.Fatal(err)
	}
	replaceRoot(t, b, 4, 4)
	if err := b.EndHandOver(t.Context(), time.Unix(999, 0).UnixNano()); err != nil {
		t.Fatal(err)
	}
	if names, err := hub.Open().List(t.Context(), handoverPrefix, "", 0); err != nil || len(names) != 3 {
		t.Errorf("too early: %v, %v", names, err)
	}
	if err := b.EndHandOver(t.Context(), time.Unix(1000, 0).UnixNano()); err != nil {
		t.Fatal(err)
	}
	if names, err := hub.Open().List(t.Context(), handoverPrefix, "", 0); err != nil || len(names) != 0 {
		t.Errorf("left over: %v, %v", names, err)
	}
	if err := late.Reload(t.Context()); !errors.Is(err, ErrWrongRoot) {
		t.Errorf("a clone that was away for too long: %v", err)
	}
	wants(t, late, "a/1", "one") // it still reads what it can
}

func TestHandOverOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	b, c, hub := pair(t, false)
	replaceRoot(t, b, 2, 2)
	if names, err := hub.Open().List(t.Context(), "core/", "", 0); err != nil ||
		strings.Contains(strings.Join(names, " "), "handover") {
		t.Errorf("%v, %v", names, err)
	}
	if err := c.Reload(t.Context()); !errors.Is(err, ErrWrongRoot) {
		t.Errorf("%v", err)
	}
}

// TestHandOverDamaged: whatever stands there, a wrong root key is never taken.
func TestHandOverDamaged(t *testing.T) {
	t.Parallel()
	for what, damage := range map[string]func([]byte) []byte{
		"shorter":         func(r []byte) []byte { return r[:len(r)-1] },
		"empty":           func([]byte) []byte { return nil },
		"another version": func(r []byte) []byte { r[0]++; return r },
		"another time":    func(r []byte) []byte { r[3]++; return r },
		"another key":     func(r []byte) []byte { r[len(r)-1]++; return r },
	} {
		b, c, hub := pair(t, true)
		replaceRoot(t, b, 2, 2)
		s := hub.Open()
		record, err := s.Get(t.Context(), handoverPath(2))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(context.Background(),
			storage.Batch{Ops: []storage.Op{storage.Put(handoverPath(2), damage(record))}}); err != nil {
			t.Fatal(err)
		}
		if err := c.Reload(t.Context()); !errors.Is(err, ErrWrongRoot) {
			t.Errorf("%s: %v", what, err)
		}
		if c.RootGeneration() != 1 {
			t.Errorf("%s: generation %d", what, c.RootGeneration())
		}
	}
}
