package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCheckKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a", "a/b", "core/keyring", "a..b", "...", " ", "é/路", strings.Repeat("k", MaxKey)} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%.20q: %v", key, err)
		}
		if err := CheckPrefix(key + "/"); err != nil && len(key) < MaxKey {
			t.Errorf("%.20q as a prefix: %v", key, err)
		}
	}
	for _, key := range []string{"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a\x00", "\xc3",
		strings.Repeat("k", MaxKey+1)} {
		if err := CheckKey(key); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%.20q: %v", key, err)
		}
	}
	for _, prefix := range []string{"a", "/", "a//", "../", "\x00/"} {
		if err := CheckPrefix(prefix); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	if err := CheckPrefix(""); err != nil {
		t.Errorf("the empty prefix: %v", err)
	}
}

func TestNothingWritten(t *testing.T) {
	t.Parallel()
	for _, err := range []error{ErrConflict, ErrFenced, ErrTooLarge, ErrInvalidKey, ErrClosed, ErrFull} {
		if !NothingWritten(fmt.Errorf("wrapped: %w", err)) {
			t.Errorf("%v", err)
		}
	}
	for _, err := range []error{nil, ErrCorrupt, ErrNotFound, context.Canceled, errors.New("line lost")} {
		if NothingWritten(err) {
			t.Errorf("%v", err)
		}
	}
}

// FuzzNames compares with the definition: cut, drop what is not behind `after`, take the first.
func FuzzNames(f *testing.F) {
	f.Add("a b/c b/d b-/e", "", "", uint8(0))
	f.Add("a/1 a/2/x a/2 a0", "a/", "2", uint8(1))
	f.Add("p/q/r p/q0 p/q", "p/", "q/r", uint8(3))
	f.Fuzz(func(t *testing.T, list, prefix, after string, limit uint8) {
		keys := slices.DeleteFunc(strings.Fields(list), func(key string) bool { return CheckKey(key) != nil })
		slices.Sort(keys)
		keys = slices.Compact(keys)
		if CheckPrefix(prefix) != nil || len(after) > MaxKey {
			return
		}
		var want []string
		for _, key := range keys {
			name, ok := strings.CutPrefix(key, prefix)
			if folder, _, isFolder := strings.Cut(name, "/"); isFolder {
				name = folder + "/"
			}
			if ok && (after == "" || name > after) && !slices.Contains(want, name) && (limit == 0 || len(want) < int(limit)) {
				want = append(want, name)
			}
		}
		got, err := Names(prefix, after, int(limit), func(from string) (string, bool, error) {
			i, _ := slices.BinarySearch(keys, from)
			if i == len(keys) {
				return "", false, nil
			}
			return keys[i], true, nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Names(%q, %q, %d) of %q = %q, %v; want %q", prefix, after, limit, keys, got, err, want)
		}
	})
}

// TestNamesInDisorder: a damaged index that leads back must not be followed for ever.
func TestNamesInDisorder(t *testing.T) {
	t.Parallel()
	_, err := Names("", "", 0, func(from string) (string, bool, error) {
		if from == "" {
			return "b", true, nil
		}
		return "a", true, nil
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v; want ErrCorrupt", err)
	}
}

func TestFeed(t *testing.T) {
	t.Parallel()
	var feed Feed
	ctx, cancel := context.WithCancel(t.Context())
	all, below := feed.Subscribe("", ctx), feed.Subscribe("a/", t.Context())
	feed.Publish(Event{Key: "a/1"}, Event{Key: "b", Deleted: true})
	cancel()
	var got []Event
	for e := range all {
		got = append(got, e)
	}
	if !slices.Equal(got, []Event{{Key: "a/1"}, {Key: "b", Deleted: true}}) {
		t.Errorf("all: %v", got)
	}
	if e := <-below; e.Key != "a/1" {
		t.Errorf("below a/: %v", e)
	}
	feed.Break()
	if _, ok := <-below; ok {
		t.Error("open after Break")
	}
	slow := feed.Subscribe("", t.Context())
	for range feedBuffer + 1 {
		feed.Publish(Event{Key: "k"})
	}
	n := 0
	for range slow {
		n++
	}
	if n != feedBuffer {
		t.Errorf("a slow reader got %d events before it was let go", n)
	}
}
