package bbolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
)

// TestGoldenFormat1 opens a database of format 1 that is never rewritten: it stands for those in
// the field. (Like every bbolt file it has the byte order of the machine that wrote it: little.)
func TestGoldenFormat1(t *testing.T) {
	t.Parallel()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		testkit.Missing(t, "the database was written by a little-endian machine, and this one is big-endian")
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "storage", "bbolt-format-1.db"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, plant(t, b))
	holds(t, s, "core/keyring", "a record")
	holds(t, s, "kv/empty", "")
	holds(t, s, "kv/large", string(bytes.Repeat([]byte("overflow "), 600)))
	if names, err := s.List(context.Background(), "kv/", "", 0); err != nil ||
		!slices.Equal(names, []string{"empty", "large"}) {
		t.Errorf("kv/ holds %q, %v", names, err)
	}
	put(t, s, "kv/new", "written by this version")
	holds(t, s, "kv/new", "written by this version")
	if n, err := s.sequence(); n != 3 || err != nil {
		t.Errorf("the third group has the number %d, %v", n, err)
	}
}
