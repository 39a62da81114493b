package barrier

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// The vectors in testdata/barrier stand for records on disks that we do not know. They are
// never edited to make a test pass: a format that must change gets another version.

// golden is a case; which members are used depends on the file.
type golden struct {
	Name, Want                string
	Root, Record, Plain, Path string // hexadecimal, but for the path
	Generation                uint64
	Counts                    map[string]uint64
	Enabled                   bool
	Interval                  string
	MaxOperations             int64 `json:"max_operations"`
}

type goldenFile struct {
	Root       string
	Generation uint64
	Active     uint32
	Trusted    uint32 // of a keyring with distrusted terms
	Refused    uint32
	Terms      []struct {
		Term      uint32
		Key       string
		Installed time.Time
	}
	Cases []golden
}

func readGolden(t testing.TB, name string) goldenFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "barrier", name))
	if err != nil {
		t.Fatal(err)
	}
	var f goldenFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares an error with what the case expects, and reports whether the case is a good one.
func (c golden) check(t *testing.T, err error) bool {
	t.Helper()
	want := map[string]error{"ok": nil, "corrupt": storage.ErrCorrupt, "wrong root": ErrWrongRoot,
		"unknown term": errUnknownTerm}
	kind, ok := want[c.Want]
	if !ok {
		t.Fatalf("%s: unknown expectation %q", c.Name, c.Want)
	}
	if !errors.Is(err, kind) || kind == nil && err != nil {
		t.Errorf("%s: %v; want %s", c.Name, err, c.Want)
		return false
	}
	return kind == nil
}

// goldenRing opens the good keyring of the vectors.
func goldenRing(t testing.TB) *ring {
	t.Helper()
	f := readGolden(t, "keyring.json")
	r, err := openRing(unhex(t, f.Cases[0].Record), secret.New(unhex(t, f.Root)), f.Generation)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoldenKeyring(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"keyring.json", "keyring-distrust.json"} {
		t.Run(name, func(t *testing.T) { checkGoldenKeyring(t, readGolden(t, name)) })
	}
}

func checkGoldenKeyring(t *testing.T, f goldenFile) {
	for _, c := range f.Cases {
		root, generation := f.Root, f.Generation
		if c.Root != "" {
			root = c.Root
		}
		if c.Generation != 0 {
			generation = c.Generation
		}
		r, err := openRing(unhex(t, c.Record), secret.New(unhex(t, root)), generation)
		if !c.check(t, err) {
			continue
		}
		if r.active.id != f.Active || len(r.terms) != len(f.Terms) {
			t.Fatalf("%s: active %d of %d terms", c.Name, r.active.id, len(r.terms))
		}
		if r.trust != (trust{f.Trusted, f.Refused}) {
			t.Errorf("%s: %+v", c.Name, r.trust)
		}
		for i, want := range f.Terms {
			got := r.terms[i]
			if got.id != want.Term || !got.key.Equal(secret.New(unhex(t, want.Key))) || !got.installed.Equal(want.Installed) {
				t.Errorf("%s: term %d is not as it was written", c.Name, want.Term)
			}
		}
	}
}

func TestGoldenEntry(t *testing.T) {
	t.Parallel()
	r := goldenRing(t)
	for _, c := range readGolden(t, "entry.json").Cases {
		plain, err := r.open(c.Path, unhex(t, c.Record))
		if c.check(t, err) && string(plain) != string(unhex(t, c.Plain)) {
			t.Errorf("%s: %q", c.Name, plain)
		}
	}
}

func TestGoldenCounts(t *testing.T) {
	t.Parallel()
	for _, c := range readGolden(t, "counts.json").Cases {
		counts, err := unmarshalCounts(unhex(t, c.Plain))
		if !c.check(t, err) {
			continue
		}
		got := map[string]uint64{}
		for id, n := range counts {
			got[strconv.Itoa(int(id))] = n
		}
		if !maps.Equal(got, c.Counts) {
			t.Errorf("%s: %v", c.Name, got)
		}
	}
}

func TestGoldenRotation(t *testing.T) {
	t.Parallel()
	for _, c := range readGolden(t, "rotation.json").Cases {
		got, err := unmarshalRotation(unhex(t, c.Plain))
		if c.check(t, err) && (got.Enabled != c.Enabled || got.Interval.String() != c.Interval ||
			got.MaxOperations != c.MaxOperations) {
			t.Errorf("%s: %+v", c.Name, got)
		}
	}
}

// TestGoldenHandOver opens root keys that were handed over on disks that we do not know.
func TestGoldenHandOver(t *testing.T) {
	t.Parallel()
	for _, c := range readGolden(t, "handover.json").Cases {
		store := inmem.New()
		op := storage.Put(handoverPath(c.Generation), unhex(t, c.Record))
		if err := store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
			t.Fatal(err)
		}
		b := New(store, Options{HandOver: &HandOver{}})
		next, err := b.inheritOne(t.Context(), secret.New(unhex(t, c.Root)), c.Generation)
		if c.check(t, err) && hex.EncodeToString(next.Expose()) != c.Plain {
			t.Errorf("%s: another key", c.Name)
		}
	}
}
