package transcript

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// vector is one golden file. They are never edited to pass.
type vector struct {
	Name     string          `json:"name"`
	Head     string          `json:"head,omitempty"`
	Problems []string        `json:"problems"`
	File     json.RawMessage `json:"file"`
}

func golden(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "testdata", "recovery", "transcript-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	return vectors
}

func TestGoldenFiles(t *testing.T) {
	t.Parallel()
	for _, v := range golden(t) {
		var head *Head
		if v.Head != "" {
			h, err := ParseHead(v.Head)
			if err != nil {
				t.Fatal(err)
			}
			head = &h
		}
		report, err := VerifyFile(bytes.NewReader(v.File), public, head)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if got := problems(report); !slices.Equal(got, v.Problems) {
			t.Errorf("%s: %q", v.Name, got)
		}
	}
}

// TestTheSameCeremoniesMakeTheGoldenFile pins the encoding, the hashes and the signature.
func TestTheSameCeremoniesMakeTheGoldenFile(t *testing.T) {
	t.Parallel()
	signed, _ := chain(t, key, Head{}, records())
	var want bytes.Buffer
	if err := json.Compact(&want, golden(t)[0].File); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(File{PublicKey: public, Records: signed})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("another file: %s", got)
	}
}

func FuzzVerifyFile(f *testing.F) {
	for _, v := range golden(f) {
		f.Add([]byte(v.File))
	}
	signed, head := chain(f, key, Head{}, records())
	f.Add(exported(f, head, signed))
	genuine := map[Hash]bool{}
	for _, s := range signed {
		genuine[s.Hash()] = true
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		report, err := VerifyFile(bytes.NewReader(raw), public, &head)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatalf("not an ErrFile: %v", err)
			}
			return
		}
		if report.OK() != (len(report.Problems) == 0) || report.Head.Seq > 0 && !genuine[report.Head.Hash] {
			t.Fatalf("an unsigned record passed: %+v", report)
		}
		if report.OK() && report.Records != len(signed) {
			t.Fatalf("%d records passed for %d", report.Records, len(signed))
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	signed, _ := chain(f, key, Head{}, records())
	for _, s := range signed {
		f.Add(s.Marshal())
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		s, err := Unmarshal(record)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("not an ErrRecord: %v", err)
			}
			return
		}
		if !bytes.Equal(s.Marshal(), record) {
			t.Fatal("decoded and encoded again it is another record")
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Signed)
		if err := json.Unmarshal(raw, again); err != nil || !bytes.Equal(again.Marshal(), record) {
			t.Fatalf("through JSON it is another record (%v): %s", err, hex.EncodeToString(record))
		}
	})
}
