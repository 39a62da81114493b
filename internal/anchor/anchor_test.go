package anchor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestFile(t *testing.T) {
	t.Parallel()
	f := File(filepath.Join(t.TempDir(), "anchor"))
	if s, err := f.Load(); s != nil || err != nil {
		t.Fatalf("without a file: %+v, %v", s, err)
	}
	s := &State{Cluster: "c", Generation: 2, Revision: 3, Digest: "ab", Sequence: 4, Audit: []string{"file/"}}
	if err := s.Seal([]byte("key")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Save(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Load()
	if err != nil || !reflect.DeepEqual(got, s) || !got.Verify([]byte("key")) || got.Verify([]byte("other")) {
		t.Fatalf("%+v, %v", got, err)
	}
	if info, err := os.Stat(string(f)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	got.Generation = 1
	if got.Verify([]byte("key")) {
		t.Error("a changed state verifies")
	}
	for _, bad := range []string{"", "{}", `{"v":2}`, `{"v":1,"x":1}`, `{"v":1} {}`} {
		if err := os.WriteFile(string(f), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); !errors.Is(err, ErrAnchor) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"v":1,"cluster":"c","audit":["a/"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Unmarshal(b)
		if err != nil {
			return
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Unmarshal(raw); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}
