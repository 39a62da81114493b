package snapshot

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// proof seals and signs as a server does.
var proof = Proof{
	Seal: func(sums []byte) ([]byte, error) { return append([]byte("sealed:"), sums...), nil },
	Sign: func(sums, sealed []byte) ([]byte, error) { return Sign(testKey, sums, sealed), nil },
}

func public() []byte { return testKey.Public().(ed25519.PublicKey) }

// contents reads a whole store, but for nothing.
func contents(t *testing.T, s storage.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.(storage.Snapshotter).Snapshot(t.Context(), func(key string, value []byte) error {
		all[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func fill(t *testing.T, s storage.Store, entries map[string]string) {
	t.Helper()
	for key, value := range entries {
		if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte(value))}}); err != nil {
			t.Fatal(err)
		}
	}
}

// sample is data with every kind of edge: folders beside keys, empty values, one as large as a
// store takes.
func sample() map[string]string {
	entries := map[string]string{"a": "", "a-b": "1", "a/b": "2", "core/seal": "sealed", "core/keyring": "ring",
		strings.Repeat("k", storage.MaxKey): "long key", "big": strings.Repeat("x", storage.MaxBytes-3)}
	for i := range 300 {
		entries[fmt.Sprintf("logical/%04d", i)] = strings.Repeat(fmt.Sprint(i), 5000)
	}
	return entries
}

func save(t *testing.T, s storage.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Save(t.Context(), &b, s, Meta{Created: created, ClusterID: "c1", ClusterName: "one", Storage: "inmem",
		Program: "Sealgate v0", Signer: public()}, proof); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func equal(t *testing.T, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%q holds %d bytes, want %d", key, len(got[key]), len(value))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%q is there and should not be", key)
		}
	}
}

// restore does what a server does.
func restore(ctx context.Context, s storage.Store, archive []byte) error {
	n, err := Stage(ctx, s, 0, bytes.NewReader(archive))
	if err != nil {
		return err
	}
	if err := Decide(ctx, s, 0, State{Pieces: n, Meta: Meta{Created: created}}); err != nil {
		return err
	}
	return Finish(ctx, s, 0)
}

func TestRoundTripAcrossStorages(t *testing.T) {
	t.Parallel()
	source := inmem.New()
	fill(t, source, sample())
	fill(t, source, map[string]string{MigrationKey: "not copied", RestoredKey: "neither"})
	archive := save(t, source)
	info, err := Read(t.Context(), bytes.NewReader(archive), nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.ClusterID != "c1" || info.Entries != 307 || info.Files < 2 || !info.Created.Equal(created) ||
		string(info.Sealed) != "sealed:"+string(info.Sums) {
		t.Errorf("read %+v", info.Totals)
	}
	target, err := bbolt.Open(t.Context(), filepath.Join(t.TempDir(), "data"), bbolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	fill(t, target, map[string]string{"a": "other", "gone": "x", "logical/0005/deeper": "y", MigrationKey: "stays"})
	if err := restore(t.Context(), target, archive); err != nil {
		t.Fatal(err)
	}
	want := sample()
	want[MigrationKey], want[RestoredKey] = "stays", created.Format(time.RFC3339Nano)
	equal(t, contents(t, target), want)
}

// failing gives up after some commits, as a node does that dies.
type failing struct {
	*inmem.Store
	mu   sync.Mutex
	left int
}

var errDied = errors.New("died")

func (f *failing) Commit(ctx context.Context, b storage.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return errDied
	}
	f.left--
	return f.Store.Commit(ctx, b)
}

// TestRestoreIsWholeOrNotThere stops a restore before every commit: what is left is the old data,
// or a decision that another finishes.
func TestRestoreIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	source := inmem.New()
	entries := map[string]string{"core/seal": "new", "core/keyring": "new"}
	for i := range 200 {
		entries[fmt.Sprintf("logical/%04d", i)] = strings.Repeat("n", 6000)
	}
	fill(t, source, entries)
	archive := save(t, source)
	old := map[string]string{"core/seal": "old", "core/keyring": "old", "logical/0003": "old", "zzz": "old"}
	decided := false
	for commits := 0; ; commits++ {
		s := &failing{Store: inmem.New(), left: -1}
		fill(t, s, old)
		s.left = commits
		err := restore(t.Context(), s, archive)
		if err != nil && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		s.left = -1
		pending, perr := Pending(t.Context(), s)
		if perr != nil {
			t.Fatal(perr)
		}
		now := contents(t, s)
		data := map[string]string{}
		for key, value := range now {
			if Copied(key) {
				data[key] = value
			}
		}
		_, restored := now[RestoredKey]
		switch {
		case pending == nil && !restored:
			equal(t, data, old)
		case pending != nil:
			decided = true
			if err := Finish(t.Context(), s, 0); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{RestoredKey: created.Format(time.RFC3339Nano)}
			for k, v := range entries {
				want[k] = v
			}
			equal(t, contents(t, s), want)
		default:
			equal(t, data, entries)
		}
		if err == nil {
			break
		}
		if t.Failed() {
			t.Fatalf("after %d commits", commits)
		}
	}
	if !decided {
		t.Error("no attempt was stopped behind its decision")
	}
}

func TestOneRestoreAtATime(t *testing.T) {
	t.Parallel()
	s := inmem.New()
	fill(t, s, map[string]string{"a": "1"})
	archive := save(t, s)
	n, err := Stage(t.Context(), s, 0, bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if err := Decide(t.Context(), s, 0, State{Pieces: n}); err != nil {
		t.Fatal(err)
	}
	if err := Decide(t.Context(), s, 0, State{Pieces: n}); !errors.Is(err, ErrUnderWay) {
		t.Errorf("a second decision: %v", err)
	}
	if _, err := Stage(t.Context(), s, 0, bytes.NewReader(archive)); !errors.Is(err, ErrUnderWay) {
		t.Errorf("staging over a decision: %v", err)
	}
}

// TestDamageIsFound cuts and flips an archive everywhere (in steps), compressed and below the
// compression.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	s := inmem.New()
	fill(t, s, map[string]string{"a": "1", "b/c": strings.Repeat("value", 300), "core/seal": "s"})
	archive := save(t, s)
	plain := decompress(t, archive)
	sound := func(b []byte) error {
		_, err := Read(t.Context(), bytes.NewReader(b), nil)
		return err
	}
	refused := func(what string, b []byte) {
		t.Helper()
		if err := sound(b); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := sound(compress(plain)); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(archive); n += 7 {
		refused(fmt.Sprintf("cut at %d", n), archive[:n])
	}
	for i := 10; i < len(archive); i += 5 { // the first ten bytes are gzip's header: times and names that are not checked
		b := bytes.Clone(archive)
		b[i] ^= 1
		if same, err := gunzip(b); err == nil && bytes.Equal(same, plain) {
			continue // a bit that the compression does not use
		}
		refused(fmt.Sprintf("flipped at %d", i), b)
	}
	// What is behind the archive, within the compression or after it, is not covered by anything.
	refused("appended", append(bytes.Clone(archive), 0))
	refused("an appended stream", append(bytes.Clone(archive), compress(nil)...))
	refused("appended blocks", compress(append(bytes.Clone(plain), make([]byte, 512)...)))
	for _, old := range []string{"1\x00", "value", "core/seal", `"entries": 3`, "state-00000001.bin",
		"SHA256SUMS.sealed", "SHA256SUMS.signature"} {
		i := bytes.Index(plain, []byte(old))
		if i < 0 {
			t.Fatalf("%q is not in the archive", old)
		}
		b := bytes.Clone(plain)
		b[i] ^= 2
		refused(fmt.Sprintf("changed %q", old), compress(b))
	}
	for _, other := range [][]byte{nil, []byte("no archive"), compress(nil), compress([]byte("no tar"))} {
		if err := sound(other); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

func compress(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func gunzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func decompress(t *testing.T, b []byte) []byte {
	t.Helper()
	out, err := gunzip(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzEntries: what is read is written the same, and nothing makes the reader panic or take what no
// store holds.
func FuzzEntries(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, "a", nil), "b/c", []byte("value")))
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &decoder{r: bytes.NewReader(b)}
		var again []byte
		for {
			key, value, err := d.next()
			if errors.Is(err, io.EOF) {
				if !bytes.Equal(again, b) {
					t.Errorf("read and written, %x is %x", b, again)
				}
				return
			}
			if err != nil {
				return
			}
			again = appendEntry(again, key, value)
		}
	})
}

func FuzzRead(f *testing.F) {
	s := inmem.New()
	if err := s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put("a", []byte("1"))}}); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := Save(context.Background(), &b, s, Meta{Created: created, Signer: public()}, proof); err != nil {
		f.Fatal(err)
	}
	r, err := gzip.NewReader(&b)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, plain []byte) {
		info, err := Read(t.Context(), bytes.NewReader(compress(plain)), nil)
		if err == nil && info.Format != formatName {
			t.Errorf("took %+v", info)
		}
	})
}

// rotten is a store that reports entries as damaged.
type rotten struct {
	*inmem.Store
	damaged []string
}

func (r *rotten) SnapshotIntact(ctx context.Context, visit func(string, []byte) error, damaged func(string)) error {
	return r.Snapshot(ctx, func(key string, value []byte) error {
		if slices.Contains(r.damaged, key) {
			damaged(key)
			return nil
		}
		if visit == nil {
			return nil
		}
		return visit(key, value)
	})
}

// TestDamagedEntries: a save names them before it writes anything, or leaves them out with a list.
func TestDamagedEntries(t *testing.T) {
	t.Parallel()
	store := &rotten{Store: inmem.New(), damaged: []string{"b", "c/d"}}
	t.Cleanup(func() { _ = store.Close() })
	for _, key := range []string{"a", "b", "c/d", "e"} {
		if err := store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte("v"))}}); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	_, err := Save(t.Context(), &out, store, Meta{}, proof)
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "b, c/d") || out.Len() != 0 {
		t.Errorf("with damaged entries: %v, %d bytes written", err, out.Len())
	}
	_, err = Save(t.Context(), &out, store, Meta{Skipped: []string{"b"}}, proof)
	if !errors.Is(err, storage.ErrCorrupt) || strings.Contains(err.Error(), "b,") || out.Len() != 0 {
		t.Errorf("with one more than is skipped: %v, %d bytes written", err, out.Len())
	}
	skipped, err := Damaged(t.Context(), store)
	if err != nil || !slices.Equal(skipped, store.damaged) {
		t.Fatalf("Damaged = %q, %v", skipped, err)
	}
	if _, err := Save(t.Context(), &out, store, Meta{Skipped: skipped}, proof); err != nil {
		t.Fatal(err)
	}
	var kept []string
	info, err := Read(t.Context(), &out, func(key string, _ []byte) error {
		kept = append(kept, key)
		return nil
	})
	if err != nil || !slices.Equal(info.Skipped, skipped) || !slices.Equal(kept, []string{"a", "e"}) {
		t.Errorf("the snapshot: %+v, %q, %v", info, kept, err)
	}
}

// TestSignature: a snapshot names the key that signed it; one that another key signed, or whose
// signature was taken from another snapshot or removed, is refused; one of an older program, which
// has none, is read and is not signed.
func TestSignature(t *testing.T) {
	t.Parallel()
	s := inmem.New()
	fill(t, s, map[string]string{"a": "1"})
	read := func(archive []byte) (*Info, error) { return Read(t.Context(), bytes.NewReader(archive), nil) }
	made := func(meta Meta, p Proof) []byte {
		var b bytes.Buffer
		if _, err := Save(t.Context(), &b, s, meta, p); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	info, err := read(save(t, s))
	if err != nil || !info.Signed() || info.CheckSigner(other.Public().(ed25519.PublicKey), public()) != nil {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := info.CheckSigner(other.Public().(ed25519.PublicKey)); !errors.Is(err, ErrSigner) {
		t.Errorf("another key: %v", err)
	}
	unsigned, err := read(made(Meta{Created: created}, proof))
	if err != nil || unsigned.Signed() || unsigned.Version != unsignedVersion ||
		!errors.Is(unsigned.CheckSigner(public()), ErrSigner) {
		t.Errorf("without a key: %+v, %v", unsigned, err)
	}
	for name, sign := range map[string]func(sums, sealed []byte) ([]byte, error){
		"another key's": func(sums, sealed []byte) ([]byte, error) { return Sign(other, sums, sealed), nil },
		"another snapshot's": func([]byte, []byte) ([]byte, error) {
			return Sign(testKey, []byte("sums"), []byte("sealed")), nil
		},
		"without a domain": func(sums, _ []byte) ([]byte, error) { return ed25519.Sign(testKey, sums), nil },
		"empty":            func([]byte, []byte) ([]byte, error) { return nil, nil },
	} {
		archive := made(Meta{Created: created, Signer: public()}, Proof{Seal: proof.Seal, Sign: sign})
		if _, err := read(archive); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s signature: %v", name, err)
		}
	}
	if _, err := read(made(Meta{Created: created, Signer: []byte("short")}, proof)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a key of 5 bytes: %v", err)
	}
}

// TestReadsVersion1 reads an archive that an older program made.
func TestReadsVersion1(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../testdata/storage/snapshot-v1.snap")
	if err != nil {
		t.Fatal(err)
	}
	info, err := Read(t.Context(), bytes.NewReader(raw), nil)
	if err != nil || info.Version != 1 || info.Entries != 2 || info.Signed() {
		t.Errorf("%+v, %v", info, err)
	}
}
