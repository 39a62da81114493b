package storagetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

func getReturnsWhatWasPut(s *suite) {
	store := s.open()
	s.holds(store, "a", nil)
	values := map[string][]byte{
		"a":                                 []byte("one"),
		"a/b":                               []byte("below a key that has a value itself"),
		"empty":                             {},
		"binary":                            {0, 1, 0xFF, 0, '\n'},
		"Ünïcode/路径":                        []byte("text"),
		"with space/and:signs?":             []byte("x"),
		strings.Repeat("k", storage.MaxKey): []byte("the longest key"),
	}
	for key, value := range values {
		s.commit(store, storage.Put(key, value))
	}
	for key, value := range values {
		s.holds(store, key, value)
	}
	s.commit(store, storage.Put("a", []byte("two")), storage.Put("nil", nil), storage.Delete("a/b"))
	s.holds(store, "a", []byte("two"))
	s.holds(store, "a/b", nil)
	s.holds(store, "nil", []byte{})
}

func valuesAreCopied(s *suite) {
	store := s.open()
	value := []byte("value")
	s.commit(store, storage.Put("k", value))
	copy(value, "other")
	got, err := store.Get(s.ctx, "k")
	if err != nil || string(got) != "value" {
		s.t.Fatalf("Get = %q, %v: the caller's buffer was kept", got, err)
	}
	copy(got, "third")
	_ = append(got, "more"...)
	s.holds(store, "k", []byte("value"))
}

func keysAreChecked(s *suite) {
	store := s.open()
	tooLong := strings.Repeat("k", storage.MaxKey+1)
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/..", "a\x00b", "\xff", tooLong} {
		_, err := store.Get(s.ctx, key)
		s.wantError(fmt.Sprintf("Get(%.20q)", key), err, storage.ErrInvalidKey)
		for what, b := range map[string]storage.Batch{
			"put":       {Ops: []storage.Op{storage.Put("good", nil), storage.Put(key, nil)}},
			"delete":    {Ops: []storage.Op{storage.Put("good", nil), storage.Delete(key)}},
			"condition": {Ops: []storage.Op{storage.Put("good", nil)}, If: []storage.Condition{storage.IfAbsent(key)}},
		} {
			s.wantError(fmt.Sprintf("Commit with a %s of %.20q", what, key), store.Commit(s.ctx, b), storage.ErrInvalidKey)
		}
	}
	s.holds(store, "good", nil)
	for _, prefix := range []string{"a", "/", "a//", "../", "a/b"} {
		_, err := store.List(s.ctx, prefix, "", 0)
		s.wantError(fmt.Sprintf("List(%q)", prefix), err, storage.ErrInvalidKey)
	}
}

func listNamesAndFolders(s *suite) {
	store := s.open()
	s.lists(store, "", "", 0)
	s.lists(store, "a/", "", 0)
	for _, key := range []string{"a", "a-b", "a/1", "a/2/x", "a/2/y", "a/2", "a0", "b/c/d/e", "z"} {
		s.commit(store, storage.Put(key, []byte(key)))
	}
	s.lists(store, "", "", 0, "a", "a-b", "a/", "a0", "b/", "z")
	s.lists(store, "a/", "", 0, "1", "2", "2/")
	s.lists(store, "a/2/", "", -1, "x", "y")
	s.lists(store, "b/", "", 0, "c/")
	s.lists(store, "none/", "", 0)
	s.lists(store, "", "a", 0, "a-b", "a/", "a0", "b/", "z")
	s.lists(store, "", "a/", 0, "a0", "b/", "z")
	s.lists(store, "", "a/2/x", 0, "a0", "b/", "z") // names behind it in byte order; the folder is not
	s.lists(store, "", "aa", 2, "b/", "z")
	s.lists(store, "", "", 3, "a", "a-b", "a/")
	s.lists(store, "", "zz", 5)
	s.lists(store, "a/", "2", 1, "2/")
	s.commit(store, storage.Delete("a/2/x"), storage.Delete("a/2/y"))
	s.lists(store, "a/", "", 0, "1", "2")
}

// listMatchesModel compares with the definition, over random keys of a small alphabet.
func listMatchesModel(s *suite) {
	store := s.open()
	random := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "b", "a-", "a!", "ab", "~", "é"}
	held := map[string]bool{}
	for range 150 {
		key := segments[random.IntN(len(segments))]
		for range random.IntN(3) {
			key += "/" + segments[random.IntN(len(segments))]
		}
		held[key] = true
		s.commit(store, storage.Put(key, []byte("v")))
	}
	prefixes := []string{"", "a/", "a/a/", "b/ab/", "~/", "é/"}
	for range 300 {
		prefix, limit := prefixes[random.IntN(len(prefixes))], random.IntN(6)
		after := []string{"", "a", "a/", "a-", "a/b", "b", "~/", "é", "zzz"}[random.IntN(9)]
		s.lists(store, prefix, after, limit, model(held, prefix, after, limit)...)
	}
	// Paging visits every name once.
	var paged []string
	for after := ""; ; after = paged[len(paged)-1] {
		page, err := store.List(s.ctx, "", after, 2)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	if want := model(held, "", "", 0); !slices.Equal(paged, want) {
		s.t.Errorf("paging gave %q, want %q", paged, want)
	}
}

func model(held map[string]bool, prefix, after string, limit int) []string {
	names := map[string]bool{}
	for key := range held {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			if folder, _, ok := strings.Cut(rest, "/"); ok {
				rest = folder + "/"
			}
			names[rest] = true
		}
	}
	out := slices.Sorted(maps.Keys(names))
	out = slices.DeleteFunc(out, func(name string) bool { return after != "" && name <= after })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

func operationsApplyInOrder(s *suite) {
	store := s.open()
	s.commit(store) // an empty batch is not an error
	s.commit(store, storage.Delete("missing"))
	s.commit(store, storage.Put("k", []byte("1")), storage.Put("k", []byte("2")), storage.Delete("d"),
		storage.Put("d", []byte("3")))
	s.holds(store, "k", []byte("2"))
	s.holds(store, "d", []byte("3"))
	s.commit(store, storage.Put("k", []byte("4")), storage.Delete("k"))
	s.holds(store, "k", nil)
}

func limitsOfABatch(s *suite) {
	store := s.open()
	var ops []storage.Op
	for _, key := range numbered("n/", s.MaxOps) {
		ops = append(ops, storage.Put(key, []byte(key)))
	}
	s.commit(store, ops...)
	names, err := store.List(s.ctx, "n/", "", 0)
	if err != nil || len(names) != s.MaxOps {
		s.t.Errorf("%d names, %v; want %d", len(names), err, s.MaxOps)
	}
	more := append(slices.Clone(ops), storage.Put("over", nil))
	s.wantError("one operation too many", store.Commit(s.ctx, storage.Batch{Ops: more}), storage.ErrTooLarge)
	s.wantError("one condition too many", store.Commit(s.ctx, storage.Batch{Ops: ops,
		If: []storage.Condition{storage.IfAbsent("x")}}), storage.ErrTooLarge)
	s.holds(store, "over", nil)

	largest := bytes.Repeat([]byte{7}, s.MaxBytes-len("large"))
	s.commit(store, storage.Put("large", largest))
	s.holds(store, "large", largest)
	s.wantError("one byte too many", store.Commit(s.ctx, storage.Batch{
		Ops: []storage.Op{storage.Put("large", append(largest, 7))}}), storage.ErrTooLarge)
	s.holds(store, "large", largest)
}

func conditionAbsent(s *suite) {
	store := s.open()
	absent := []storage.Condition{storage.IfAbsent("k")}
	// Conditions apply to the state before the batch.
	if err := store.Commit(s.ctx, storage.Batch{If: absent, Ops: []storage.Op{storage.Put("k", nil)}}); err != nil {
		s.t.Fatal(err)
	}
	s.wantError("over an empty value", store.Commit(s.ctx, storage.Batch{If: absent,
		Ops: []storage.Op{storage.Put("k", []byte("x"))}}), storage.ErrConflict)
	s.holds(store, "k", []byte{})
	s.commit(store, storage.Delete("k"))
	if err := store.Commit(s.ctx, storage.Batch{If: absent}); err != nil {
		s.t.Errorf("a condition alone: %v", err)
	}
}

func conditionValue(s *suite) {
	store := s.open()
	try := func(value []byte, put string) error {
		return store.Commit(s.ctx, storage.Batch{If: []storage.Condition{storage.IfValue("k", value)},
			Ops: []storage.Op{storage.Put("k", []byte(put))}})
	}
	s.wantError("value of an absent key", try(nil, "x"), storage.ErrConflict)
	s.commit(store, storage.Put("k", nil))
	s.wantError("another value", try([]byte("a"), "x"), storage.ErrConflict)
	if err := try(nil, "one"); err != nil {
		s.t.Errorf("the empty value: %v", err)
	}
	s.wantError("a prefix of the value", try([]byte("on"), "x"), storage.ErrConflict)
	if err := try([]byte("one"), "two"); err != nil {
		s.t.Errorf("the value: %v", err)
	}
	s.holds(store, "k", []byte("two"))
}

func conflictWritesNothing(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("held", []byte("1")), storage.Put("stay", []byte("1")))
	err := store.Commit(s.ctx, storage.Batch{
		If:  []storage.Condition{storage.IfAbsent("free"), storage.IfAbsent("held")},
		Ops: []storage.Op{storage.Put("new", nil), storage.Delete("stay"), storage.Put("held", nil)},
	})
	s.wantError("one of two conditions fails", err, storage.ErrConflict)
	if !storage.NothingWritten(err) {
		s.t.Error("a conflict must mean that nothing was written")
	}
	s.holds(store, "new", nil)
	s.holds(store, "stay", []byte("1"))
	s.holds(store, "held", []byte("1"))
}

func epochWithoutLeadership(s *suite) {
	store := s.open()
	err := store.Commit(s.ctx, storage.Batch{Epoch: 7, Ops: []storage.Op{storage.Put("k", nil)}})
	s.wantError("an epoch without a leader", err, storage.ErrFenced)
	s.holds(store, "k", nil)
}

func reopenKeepsAll(s *suite) {
	store := s.open()
	keys := numbered("r/", 200)
	for _, key := range keys {
		s.commit(store, storage.Put(key, []byte(key)))
	}
	s.commit(store, storage.Delete(keys[0]))
	if err := store.Close(); err != nil {
		s.t.Fatal(err)
	}
	store = s.open()
	s.holds(store, keys[0], nil)
	for _, key := range keys[1:] {
		s.holds(store, key, []byte(key))
	}
}
