package recovery

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// golden reads vectors. They are never edited to pass: what was once written has to be read for
// ever.
func golden[T any](t testing.TB, file string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "testdata", "recovery", file))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var vectors []T
	if err := d.Decode(&vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%s: %d vectors, %v", file, len(vectors), err)
	}
	return vectors
}

// fuzzSeeds are the golden records, good and bad.
func fuzzSeeds(t testing.TB, file string) (records [][]byte) {
	t.Helper()
	for _, v := range golden[recordVector](t, file) {
		records = append(records, unhex(t, v.Record))
	}
	return records
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVaultsSharesCombine takes shares that another implementation of Vault's format made: every
// subset of the threshold's size has to give the key.
func TestVaultsSharesCombine(t *testing.T) {
	t.Parallel()
	for _, v := range golden[struct {
		Name      string
		Threshold int
		Key       string
		Shares    []string
	}](t, "shares-in-vaults-format.json") {
		key := secret.New(unhex(t, v.Key))
		shares := make([]*secret.Bytes, len(v.Shares))
		for i, text := range v.Shares {
			var err error
			if shares[i], err = ParseShare(text); err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
		}
		tried := 0
		subsets(shares, v.Threshold, func(some []*secret.Bytes) {
			tried++
			if got, err := Combine(some); err != nil || !got.Equal(key) {
				t.Errorf("%s: another key, or %v", v.Name, err)
			}
		})
		if tried == 0 {
			t.Errorf("%s: no subset was tried", v.Name)
		}
	}
}

// subsets calls use with every choice of k out of list.
func subsets(list []*secret.Bytes, k int, use func([]*secret.Bytes)) {
	var pick func(from int, some []*secret.Bytes)
	pick = func(from int, some []*secret.Bytes) {
		if len(some) == k {
			use(some)
			return
		}
		for i := from; i < len(list); i++ {
			pick(i+1, append(some[:len(some):len(some)], list[i]))
		}
	}
	pick(0, nil)
}

func TestCombineRefuses(t *testing.T) {
	t.Parallel()
	kinds := map[string]error{"too few": ErrTooFew, "mixed": ErrMixed, "duplicate": ErrDuplicate,
		"no point": ErrNoPoint}
	for _, v := range golden[struct {
		Name   string
		Shares []string
		Error  string
	}](t, "shares-that-do-not-combine.json") {
		shares := make([]*secret.Bytes, len(v.Shares))
		for i, text := range v.Shares {
			shares[i] = secret.New(unhex(t, text))
		}
		if got, err := Combine(shares); !errors.Is(err, kinds[v.Error]) || got != nil {
			t.Errorf("%s: %v, want %q", v.Name, err, v.Error)
		}
	}
}

type recordVector struct {
	Name   string
	Record string
	Error  string // "" where it is good, else what the message contains
}

func checkRecords(t *testing.T, file string, decode func([]byte) (interface{ Marshal() []byte }, error)) {
	t.Helper()
	for _, v := range golden[recordVector](t, file) {
		record := unhex(t, v.Record)
		got, err := decode(record)
		switch {
		case v.Error == "" && err != nil:
			t.Errorf("%s: %v", v.Name, err)
		case v.Error == "" && !bytes.Equal(got.Marshal(), record):
			t.Errorf("%s: encodes to other bytes", v.Name)
		case v.Error != "" && (!errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), v.Error)):
			t.Errorf("%s: %v, want %q", v.Name, err, v.Error)
		}
	}
}

func TestGoldenShareSet(t *testing.T) {
	t.Parallel()
	checkRecords(t, "shareset-v1.json", func(b []byte) (interface{ Marshal() []byte },
		error) {
		return UnmarshalShareSet(b)
	})
}

func TestGoldenCeremony(t *testing.T) {
	t.Parallel()
	checkRecords(t, "ceremony-v1.json", func(b []byte) (interface{ Marshal() []byte },
		error) {
		return UnmarshalCeremony(b)
	})
}

// fixed is a source of the same bytes every time; clock is a time for tests.
func fixed() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1, 2, 3}) }

var clock = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// TestSameRandomnessMakesTheGoldenRecords pins what the bytes of a record are made of: verifiers,
// key derivation, splitting.
func TestSameRandomnessMakesTheGoldenRecords(t *testing.T) {
	t.Parallel()
	first, second := goldenCustodies(t)
	records := map[string][]byte{}
	for _, v := range golden[recordVector](t, "shareset-v1.json") {
		records[v.Name] = unhex(t, v.Record)
	}
	for name, c := range map[string]*ShareSet{"first generation, 5 shares": first,
		"second generation, 1 share": second} {
		if !bytes.Equal(c.Marshal(), records[name]) {
			t.Errorf("%s: the same randomness gives another record", name)
		}
	}
}

func goldenCustodies(t *testing.T) (first, second *ShareSet) {
	t.Helper()
	rnd := fixed()
	first, _, err := NewShareSet(Recovery, nil, 5, 3, rnd, clock)
	if err != nil {
		t.Fatal(err)
	}
	first.Holders[0].Name, first.Holders[4].Name = "alice", "Zoë"
	first.Holders[0].Proven = clock.Add(time.Hour)
	second, _, err = NewShareSet(Recovery, first, 1, 1, rnd, clock.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}
