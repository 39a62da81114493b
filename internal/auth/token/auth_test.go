package token

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// entries is a barrier made of a map; it counts the reads.
type entries struct {
	mu   sync.Mutex
	m    map[string][]byte
	gets int
	fail error
}

func (e *entries) Get(_ context.Context, key string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gets++
	if e.fail != nil {
		return nil, e.fail
	}
	v, ok := e.m[key]
	if !ok {
		return nil, storage.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (e *entries) List(context.Context, string, string, int) ([]string, error) { return nil, nil }

func (e *entries) Commit(_ context.Context, b storage.Batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m == nil {
		e.m = map[string][]byte{}
	}
	for _, op := range b.Ops {
		if op.Delete {
			delete(e.m, op.Key)
		} else {
			e.m[op.Key] = bytes.Clone(op.Value)
		}
	}
	return nil
}

// SealEntry and OpenEntry implement Sealer, with one fixed key.
func (e *entries) SealEntry(_ context.Context, path string, plain []byte) ([]byte, error) {
	return testAEAD().Seal(nil, nil, plain, []byte(path)), nil
}

func (e *entries) OpenEntry(path string, entry []byte) ([]byte, error) {
	return testAEAD().Open(nil, nil, entry, []byte(path))
}

func testAEAD() cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

var start = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func formatted(t testing.TB) (*entries, *Formatted) {
	t.Helper()
	f, err := Format(nil, start)
	if err != nil {
		t.Fatal(err)
	}
	e := &entries{}
	if err := e.Commit(t.Context(), storage.Batch{Ops: f.Ops}); err != nil {
		t.Fatal(err)
	}
	return e, f
}

func opened(t testing.TB, e *entries, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), e, Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRootTokenIsAllowedEverything(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	s := opened(t, e, nil)
	if !strings.HasPrefix(f.RootToken, "s.") || len(f.RootToken) != 26 {
		t.Errorf("the root token has the shape %d %.2s; want s. and 24 characters", len(f.RootToken), f.RootToken)
	}
	who, err := s.Authorize(t.Context(), f.RootToken, Need{Path: "sys/rotate", Capability: Update, Sudo: true})
	if err != nil || !who.Root || who.DisplayName != "root" || !slices.Equal(who.Policies, []string{"root"}) ||
		len(who.Accessor) != 24 {
		t.Errorf("Authorize = %+v, %v", who, err)
	}
	token, err := s.Lookup(t.Context(), f.RootToken)
	if err != nil || token.Path != "auth/token/root" || !token.Orphan() || !token.Created.Equal(start) ||
		!token.Expires.IsZero() {
		t.Errorf("Lookup = %+v, %v", token, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	c := &clock{now: start}
	s := opened(t, e, c.Now)
	plain := put(t, s, e, &Token{Type: TypeService, Accessor: "a", Policies: []string{"default"}, Created: start})
	brief := put(t, s, e, &Token{Type: TypeService, Accessor: "b", Policies: []string{"root"}, Created: start,
		TTL: time.Hour, Expires: start.Add(time.Hour)})
	for _, tc := range []struct {
		name, token string
		after       time.Duration
		want        string
	}{
		{"no token", "", 0, "permission denied"},
		{"unknown token", "s.000000000000000000000000", 0, "permission denied"},
		{"root token with one character more", f.RootToken + "x", 0, "permission denied"},
		{"root token with a NUL byte", f.RootToken + "\x00", 0, "permission denied"},
		{"a token of 1 MiB", strings.Repeat("s", 1<<20), 0, "permission denied"},
		{"a token without the capability", plain, 0, "1 error occurred:\n\t* permission denied\n\n"},
		{"a token that still lives", brief, time.Hour - 1, ""},
		{"a token that has expired", brief, time.Hour, "permission denied"},
	} {
		c.now = start.Add(tc.after)
		_, err := s.Authorize(t.Context(), tc.token, Need{Path: "secret/a", Capability: Read})
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || err.Error() != tc.want || !fault.Is(err, fault.Denied)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// put stores a token of a new text.
func put(t testing.TB, s *Store, e *entries, token *Token) string {
	t.Helper()
	text, err := NewTokenText(nil)
	if err != nil {
		t.Fatal(err)
	}
	record, err := token.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	op := storage.Put(tokenKey(s.digest(text)), record)
	if err := e.Commit(t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOnlySaltedHashesAreStored(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	accessor := mustLookup(t, opened(t, e, nil), f.RootToken).Accessor
	for key, value := range e.m {
		if strings.Contains(key, f.RootToken) || bytes.Contains(value, []byte(f.RootToken)) {
			t.Errorf("the entry %s shows the token", key)
		}
		if strings.Contains(key, accessor) {
			t.Errorf("the key %s shows the accessor", key)
		}
	}
	other, err := FormatWith(nil, start, f.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range other.Ops[1:] {
		if _, same := e.m[op.Key]; same && op.Key != leaseIndexKey {
			t.Errorf("two stores give the key %s to the same token: the salt does nothing", op.Key)
		}
	}
}

func mustLookup(t testing.TB, s *Store, token string) *Token {
	t.Helper()
	found, err := s.Lookup(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLookupsAreRememberedUntilForgotten(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	s := opened(t, e, nil)
	e.gets = 0
	for range 10 {
		mustLookup(t, s, f.RootToken)
	}
	if e.gets != 1 {
		t.Errorf("10 lookups read the storage %d times", e.gets)
	}
	key := tokenKey(s.digest(f.RootToken))
	delete(e.m, key)
	s.Forget("auth/token/nonsense")
	s.Forget(key)
	if _, err := s.Identify(t.Context(), f.RootToken); !fault.Is(err, fault.Denied) {
		t.Errorf("a deleted token that was forgotten is %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	s := opened(t, e, nil)
	for i := range cacheSize + 100 {
		s.remember(newEntry(digest{byte(i), byte(i >> 8), 1}, &Token{}), 0)
	}
	mustLookup(t, s, f.RootToken)
	if len(s.cache) > cacheSize {
		t.Errorf("%d tokens are in memory, the bound is %d", len(s.cache), cacheSize)
	}
	for i := range 100 {
		_, _ = s.Identify(t.Context(), fmt.Sprint("guess", i))
	}
	for d := range maps.Keys(s.cache) {
		if d == s.digest("guess1") {
			t.Error("a guess was remembered")
		}
	}
}

func TestAStorageErrorIsNoRefusal(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	s := opened(t, e, nil)
	e.fail = errors.New("disk on fire")
	if _, err := s.Identify(t.Context(), f.RootToken); err == nil || fault.Is(err, fault.Denied) ||
		!errors.Is(err, e.fail) {
		t.Errorf("Identify = %v, want the storage's error", err)
	}
}

func TestOpenWithoutSalt(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*entries{
		"missing": {},
		"short":   {m: map[string][]byte{saltKey: {1, 2, 3}}},
		"version": {m: map[string][]byte{saltKey: append([]byte{9}, make([]byte, saltSize)...)}},
	} {
		if _, err := Open(t.Context(), e, Options{}); err == nil {
			t.Errorf("a store whose salt is wrong (%s) was opened", name)
		}
	}
}

func TestChosenRootToken(t *testing.T) {
	t.Parallel()
	f, err := FormatWith(nil, start, "root")
	if err != nil || f.RootToken != "root" {
		t.Fatalf("FormatWith = %v, %v", f, err)
	}
	for _, bad := range []string{"", "has space", "new\nline", "\x00", "ümlaut", strings.Repeat("x", 513)} {
		if _, err := FormatWith(nil, start, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("the token %.20q was accepted: %v", bad, err)
		}
	}
}

func TestFormatWithoutRandomness(t *testing.T) {
	t.Parallel()
	for n := range 100 {
		if f, err := Format(bytes.NewReader(make([]byte, n)), start); err == nil && n < 80 {
			t.Errorf("%d random bytes gave a token store: %v", n, len(f.Ops))
		}
	}
}

func TestBase62IsFair(t *testing.T) {
	t.Parallel()
	// Every byte once: the 8 that would favour some characters are thrown away, each character
	// comes 4 times.
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	text, err := base62(bytes.NewReader(append(all, make([]byte, 256)...)), 248)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range alphabet {
		if n := strings.Count(text, string(c)); n != 4 {
			t.Errorf("%q comes %d times, want 4", c, n)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	e, f := formatted(t)
	s := opened(t, e, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				if _, err := s.Identify(t.Context(), f.RootToken); err != nil {
					t.Error(err)
				}
				if j%50 == i {
					s.Forget(tokenKey(s.digest(f.RootToken)))
				}
			}
		})
	}
	wg.Wait()
}

func TestCapabilityNames(t *testing.T) {
	t.Parallel()
	if got := (Read | Create | Sudo).String(); got != "create,read,sudo" {
		t.Errorf("String = %q", got)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	e, f := formatted(b)
	s := opened(b, e, nil)
	need := Need{Path: "secret/a", Capability: Read}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authorize(b.Context(), f.RootToken, need); err != nil {
			b.Fatal(err)
		}
	}
}
