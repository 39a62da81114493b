package kv

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func fresh(t testing.TB) (mount.Backend, *inmem.Store) {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	d, err := New(store, mount.Entry{Path: "kv/", Type: "kv"})
	if err != nil {
		t.Fatal(err)
	}
	return d, store
}

func do(t testing.TB, d mount.Backend, op mount.Operation, path, body string) (*mount.Response, error) {
	t.Helper()
	r := &mount.Request{Operation: op, Path: path}
	if body != "" {
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&r.Data); err != nil {
			t.Fatal(err)
		}
	}
	return d.Handle(t.Context(), r)
}

// shown is a response as the client gets it.
func shown(t testing.TB, r *mount.Response, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error()
	}
	if r == nil {
		return "nothing"
	}
	data, err := json.Marshal(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s lease %d", data, r.LeaseDuration)
}

func TestVersion1(t *testing.T) {
	t.Parallel()
	d, _ := fresh(t)
	for _, step := range []struct {
		op         mount.Operation
		path, body string
		want       string
	}{
		{mount.Read, "a", "", "nothing"},
		{mount.List, "", "", "nothing"},
		{mount.Create, "a", `{"z":1,"a":{"y":[true,null,"ü"]}}`, "nothing"},
		{mount.Read, "a", "", `{"a":{"y":[true,null,"ü"]},"z":1} lease 2764800`},
		{mount.Update, "a", `{"big":12345678901234567890.123456789}`, "nothing"},
		{mount.Read, "a", "", `{"big":12345678901234567890.123456789} lease 2764800`},
		{mount.Update, "a", ``, "error: missing data fields"},
		{mount.Update, "a", `{}`, "error: missing data fields"},
		{mount.Update, "", `{"a":1}`, "error: the name of the secret is missing: write to a path below the mount"},
		{mount.Update, "a/b/c", `{"ttl":"1h"}`, "nothing"},
		{mount.Read, "a/b/c", "", `{"ttl":"1h"} lease 3600`},
		{mount.Update, "a/b/d", `{"lease":90}`, "nothing"},
		{mount.Read, "a/b/d", "", `{"lease":90} lease 90`},
		{mount.Update, "a/b/e", `{"ttl":0,"lease":9}`, "nothing"},
		{mount.Read, "a/b/e", "", `{"lease":9,"ttl":0} lease 0`},
		{mount.Update, "a/b/f", `{"ttl":"soon"}`, "nothing"},
		{mount.Read, "a/b/f", "", `{"ttl":"soon"} lease 2764800`},
		{mount.List, "", "", `{"keys":["a","a/"]} lease 0`},
		{mount.List, "a/b/", "", `{"keys":["c","d","e","f"]} lease 0`},
		{mount.List, "nope/", "", "nothing"},
		{mount.Delete, "a", "", "nothing"},
		{mount.Delete, "a", "", "nothing"},
		{mount.Delete, "", "", "error: the name of the secret is missing: delete a path below the mount"},
		{mount.Read, "a", "", "nothing"},
		{mount.Read, "", "", "nothing"},
		{mount.Read, "a//b", "", "nothing"},
		{mount.Read, "\xff", "", "nothing"},
		{mount.List, "a//", "", "nothing"},
		{mount.Patch, "a", "", "error: unsupported operation"},
		{mount.Create, "f/g", `{"x":1}`, "nothing"},
		{mount.Create, "h", `{"x":1}`, "nothing"},
		{mount.Scan, "", "", `{"keys":["a/b/c","a/b/d","a/b/e","a/b/f","f/g","h"]} lease 0`},
		{mount.Scan, "a/", "", `{"keys":["b/c","b/d","b/e","b/f"]} lease 0`},
	} {
		r, err := do(t, d, step.op, step.path, step.body)
		if got := shown(t, r, err); got != step.want {
			t.Errorf("%s %q %s: %s, want %s", step.op, step.path, step.body, got, step.want)
		}
	}
}

func TestListInPages(t *testing.T) {
	t.Parallel()
	d, _ := fresh(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		if _, err := do(t, d, mount.Create, name, `{"x":1}`); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"limit=2":         `{"keys":["a","b"]} lease 0`,
		"limit=2&after=b": `{"keys":["c","d"]} lease 0`,
		"after=d":         "nothing",
		"limit=two":       `error: "limit" must be a number: the maximum number of names to list`,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Handle(t.Context(), &mount.Request{Operation: mount.List, Query: q})
		if got := shown(t, r, err); got != want {
			t.Errorf("list?%s: %s, want %s", query, got, want)
		}
	}
}

// TestLongList: a list is read in pages, and one that would use too much memory is refused.
func TestLongList(t *testing.T) {
	t.Parallel()
	folder := func(count int, name string) lister {
		return func(_ context.Context, _, after string, limit int) (out []string, err error) {
			if limit <= 0 || limit > listPage {
				t.Errorf("a page of %d names", limit)
			}
			next := 0
			if after != "" {
				if _, err = fmt.Sscanf(after[:8], "%d", &next); err != nil {
					return nil, err
				}
				next++
			}
			for ; next < count && len(out) < limit; next++ {
				out = append(out, fmt.Sprintf("%08d", next)+name)
			}
			return out, nil
		}
	}
	for _, c := range []struct {
		list     lister
		limit, n int
		err      error
	}{
		{folder(3*listPage, ""), 0, 3 * listPage, nil},
		{folder(3*listPage, ""), listPage + 1, listPage + 1, nil},
		{folder(3*listPage, ""), 4 * listPage, 3 * listPage, nil},
		{folder(listBytes/2000+1, strings.Repeat("x", 2000)), 0, 0, errLongList},
		{folder(listBytes/2000+1, strings.Repeat("x", 2000)), 100, 100, nil},
	} {
		for what, list := range map[string]func(context.Context, string, page) ([]string, error){
			"names": c.list.names, "tree": c.list.tree,
		} {
			names, err := list(t.Context(), "", page{limit: c.limit})
			if !errors.Is(err, c.err) || err == nil && (len(names) != c.n || !slices.IsSorted(names)) {
				t.Errorf("%s, limit %d: %d names, %v; want %d, %v", what, c.limit, len(names), err, c.n, c.err)
			}
		}
	}
}

func TestExistsDecidesBetweenCreateAndUpdate(t *testing.T) {
	t.Parallel()
	d, _ := fresh(t)
	if _, err := do(t, d, mount.Create, "there", `{"a":1}`); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"there": true, "not": false, "": false, "..": false} {
		if got, err := d.(mount.ExistenceChecker).Exists(t.Context(), path); got != want || err != nil {
			t.Errorf("Exists(%q) = %v, %v", path, got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	d, store := fresh(t)
	_, err := do(t, d, mount.Create, "big", `{"a":"`+strings.Repeat("x", storage.MaxBytes)+`"}`)
	if !fault.Is(err, fault.TooLarge) || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a value beyond the limit: %v", err)
	}
	for _, path := range []string{"a//b", "../a", "a\x00", "\xff", strings.Repeat("p", storage.MaxKey)} {
		if _, err := do(t, d, mount.Create, path, `{"a":1}`); !fault.Is(err, fault.Invalid) {
			t.Errorf("a write to %.20q: %v", path, err)
		}
	}
	if err := store.Commit(t.Context(),
		storage.Batch{Ops: []storage.Op{storage.Put(entries+"bad", []byte("nonsense"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, d, mount.Read, "bad", ""); !fault.Is(err, fault.Internal) ||
		!strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("a damaged record: %v", err)
	}
	_ = store.Close()
	if _, err := do(t, d, mount.Read, "a", ""); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("a read from a closed store: %v", err)
	}
	if _, err := d.(mount.ExistenceChecker).Exists(context.Background(), "a"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Exists in a closed store: %v", err)
	}
}

func TestMountOptions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"": "", "1": "", "2": "", "3": `is "3"`} {
		_, err := New(nil, mount.Entry{Options: map[string]string{"version": version}})
		if (want == "") != (err == nil) || err != nil &&
			(!strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid)) {
			t.Errorf("version %q: %v", version, err)
		}
	}
	d, err := New(inmem.New(), mount.Entry{Config: mount.Config{DefaultLeaseTTL: 60}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(t, d, mount.Create, "a", `{"x":1}`); err != nil {
		t.Fatal(err)
	}
	if r, err := do(t, d, mount.Read, "a", ""); err != nil || r.LeaseDuration != 60 {
		t.Errorf("the mount's lease: %+v, %v", r, err)
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	b, err := marshal(map[string]any{"ttl": "1h", "html": "<&>", "n": json.Number("1.0")})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../../testdata/mount/kv-v1-value-with-ttl.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != strings.TrimSpace(string(file)) {
		t.Errorf("the record is %s\n%q", got, b)
	}
	for _, bad := range []string{"", "\x01", "\x02\x00\x00\x00\x00\x00\x00\x00\x00{}",
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00[]", "\x01\x80\x00\x00\x00\x00\x00\x00\x00{}"} {
		if _, err := unmarshal([]byte(bad)); !errors.Is(err, errRecord) {
			t.Errorf("%q was taken for a record", bad)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := marshal(map[string]any{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := unmarshal(in)
		if err == nil && !bytes.Equal(v.marshal(), in) {
			t.Errorf("read %x, wrote %x", in, v.marshal())
		}
	})
}

func BenchmarkRead(b *testing.B) {
	d, _ := fresh(b)
	if _, err := do(b, d, mount.Create, "a", `{"value":"`+strings.Repeat("x", 256)+`"}`); err != nil {
		b.Fatal(err)
	}
	r := &mount.Request{Operation: mount.Read, Path: "a"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Handle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
