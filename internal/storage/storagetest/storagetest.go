// Package storagetest is the conformance suite of package storage: what every backend must do,
// sentence by sentence of the contract. Optional interfaces are tested if a store implements them.
//
// It imports package testing and is never linked into the program.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

// Harness provides one set of data, initially empty.
type Harness struct {
	// Open opens a store on the data. Unless Shared is set, the previous one is closed.
	Open func() (storage.Store, error)
	// Shared says that several stores may be open on the data at once.
	Shared bool
	// Limits of a layer above the storage; zero means those of package storage.
	MaxOps, MaxBytes int
}

// Factory creates a new set of data for a test, and cleans up with t.Cleanup.
type Factory func(t *testing.T) Harness

// suite is one test's view of the harness.
type suite struct {
	Harness
	t   *testing.T
	ctx context.Context
}

// Run runs the suite.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	RunLayer(t, factory)
	run(t, factory, map[string]func(*suite){
		"BeforeShowsWhatWasReplaced":   beforeShowsWhatWasReplaced,
		"ConditionValue":               conditionValue,
		"CompareAndSwapLosesNoUpdates": compareAndSwapLosesNoUpdates,
	})
}

// RunLayer runs what also holds for a layer above a storage, which stores other values than it is
// given: nothing that compares or describes stored values.
func RunLayer(t *testing.T, factory Factory) {
	t.Helper()
	run(t, factory, map[string]func(*suite){
		"GetReturnsWhatWasPut":    getReturnsWhatWasPut,
		"ValuesAreCopied":         valuesAreCopied,
		"KeysAreChecked":          keysAreChecked,
		"ListNamesAndFolders":     listNamesAndFolders,
		"ListMatchesModel":        listMatchesModel,
		"OperationsApplyInOrder":  operationsApplyInOrder,
		"LimitsOfABatch":          limitsOfABatch,
		"ConditionAbsent":         conditionAbsent,
		"ConflictWritesNothing":   conflictWritesNothing,
		"EpochWithoutLeadership":  epochWithoutLeadership,
		"ContextEnded":            contextEnded,
		"Closed":                  closed,
		"CloseUnderTraffic":       closeUnderTraffic,
		"ReopenKeepsAll":          reopenKeepsAll,
		"CommitsAreAtomic":        commitsAreAtomic,
		"OneWinnerPerAbsentKey":   oneWinnerPerAbsentKey,
		"ReadsSeeReturnedCommits": readsSeeReturnedCommits,
		"Watch":                   watch,
		"Sequence":                sequence,
		"WatchEnds":               watchEnds,
		"Snapshot":                snapshot,
		"Range":                   ranges,
		"Size":                    size,
		"Election":                election,
		"Fencing":                 fencing,
		"CampaignEnds":            campaignEnds,
		"LeadershipChanges":       leadershipChanges,
		"SecondHandleFollows":     secondHandleFollows,
	})
}

func run(t *testing.T, factory Factory, tests map[string]func(*suite)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := factory(t)
			if h.MaxOps == 0 {
				h.MaxOps = storage.MaxOps
			}
			if h.MaxBytes == 0 {
				h.MaxBytes = storage.MaxBytes
			}
			test(&suite{Harness: h, t: t, ctx: t.Context()})
		})
	}
}

// open opens a store for the length of the test.
func (s *suite) open() storage.Store {
	s.t.Helper()
	store, err := s.Open()
	if err != nil {
		s.t.Fatalf("Open: %v", err)
	}
	s.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			s.t.Errorf("Close: %v", err)
		}
	})
	return store
}

func (s *suite) commit(store storage.Store, ops ...storage.Op) {
	s.t.Helper()
	if err := store.Commit(s.ctx, storage.Batch{Ops: ops}); err != nil {
		s.t.Fatalf("Commit: %v", err)
	}
}

// holds checks the value of a key; nil means absent.
func (s *suite) holds(store storage.Store, key string, want []byte) {
	s.t.Helper()
	got, err := store.Get(s.ctx, key)
	switch {
	case want == nil && !errors.Is(err, storage.ErrNotFound):
		s.t.Errorf("Get(%q) = %q, %v; want ErrNotFound", key, got, err)
	case want != nil && (err != nil || !bytes.Equal(got, want)):
		s.t.Errorf("Get(%q) = %.80q, %v; want %.80q", key, got, err, want)
	}
}

func (s *suite) lists(store storage.Store, prefix, after string, limit int, want ...string) {
	s.t.Helper()
	got, err := store.List(s.ctx, prefix, after, limit)
	if err != nil || got == nil || !slices.Equal(got, want) {
		s.t.Errorf("List(%q, %q, %d) = %q, %v; want %q", prefix, after, limit, got, err, want)
	}
}

func (s *suite) wantError(what string, err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Errorf("%s: %v; want %v", what, err, want)
	}
}

// numbered returns n keys below prefix.
func numbered(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%04d", prefix, i)
	}
	return keys
}
