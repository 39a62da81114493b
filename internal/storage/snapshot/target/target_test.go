package target

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	f, ctx := Folder(t.TempDir()), t.Context()
	write := func(name, text string) Object {
		t.Helper()
		o, err := f.Create(ctx, name)
		if err == nil {
			_, err = io.WriteString(o, text)
		}
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	names := func() []string {
		t.Helper()
		all, err := f.List(ctx, "a-")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	write("a-1", "gone").Abort()
	open := write("a-2", "two")
	if all := names(); len(all) != 0 {
		t.Errorf("before a commit it has %q", all)
	}
	if err := errors.Join(open.Commit(), write("a-1", "one").Commit(), write("b-1", "other").Commit()); err != nil {
		t.Fatal(err)
	}
	if all := names(); !slices.Equal(all, []string{"a-1", "a-2"}) {
		t.Errorf("it has %q", all)
	}
	r, err := f.Open(ctx, "a-2")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "two" || r.Close() != nil {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(string(f), "a-2")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	write("a-3", "of a crash")
	write("b-3", "of another schedule")
	if err := f.Sweep(func(name string) bool { return name == "a-3" }); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(string(f), unfinished+"*")); err != nil || len(left) != 1 {
		t.Errorf("a sweep leaves %q, %v", left, err)
	}
	if err := errors.Join(f.Remove(ctx, "a-2"), f.Remove(ctx, "a-2")); err != nil {
		t.Error(err)
	}
	if _, err := f.Open(ctx, "a-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed one: %v", err)
	}
	if _, err := Folder(filepath.Join(string(f), "none")).Create(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../a", "a/b", ".a", "a\x00"} {
		if _, err := f.Create(ctx, name); err == nil {
			t.Errorf("%q is a name", name)
		}
		if f.Remove(ctx, name) == nil {
			t.Errorf("%q was removed", name)
		}
	}
}
