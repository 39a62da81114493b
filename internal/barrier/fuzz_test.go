package barrier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

// FuzzKeyringPlain: what decodes encodes to the same bytes.
func FuzzKeyringPlain(f *testing.F) {
	r := goldenRing(f)
	f.Add(r.marshal())
	f.Add([]byte{})
	r.trust = trust{from: r.active.id, refused: r.active.id}
	f.Add(r.marshal())
	f.Fuzz(func(t *testing.T, plain []byte) {
		for _, version := range []uint8{keyringVersion, keyringDistrust} {
			r, err := unmarshalRing(version, plain)
			if err != nil {
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("%v", err)
				}
				continue
			}
			if !bytes.Equal(r.marshal(), plain) || r.trust.version() != version {
				t.Errorf("version %d: %x decodes to something that encodes to %x", version, plain, r.marshal())
			}
		}
	})
}

// FuzzKeyringRecord: no record but the true one opens.
func FuzzKeyringRecord(f *testing.F) {
	good := goldenRing(f)
	for _, c := range readGolden(f, "keyring.json").Cases {
		f.Add(unhex(f, c.Record), good.generation)
	}
	f.Fuzz(func(t *testing.T, record []byte, generation uint64) {
		r, err := openRing(record, good.root, generation)
		switch {
		case err == nil && !bytes.Equal(r.record, good.record):
			t.Errorf("%x opens", record)
		case err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, ErrWrongRoot):
			t.Error(err)
		}
	})
}

// FuzzEntry: no entry but the true ones opens, and what is sealed opens to itself.
func FuzzEntry(f *testing.F) {
	r := goldenRing(f)
	known := map[string]bool{}
	for _, c := range readGolden(f, "entry.json").Cases {
		f.Add(c.Path, unhex(f, c.Record))
		known[c.Path+"\x00"+string(unhex(f, c.Record))] = c.Want == "ok"
	}
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		got, err := r.open(path, bytes.Clone(data))
		switch {
		case err == nil && !known[path+"\x00"+string(data)]:
			t.Errorf("%x opens to %x at %q", data, got, path)
		case err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, errUnknownTerm):
			t.Error(err)
		}
		for _, term := range r.terms {
			record := term.seal(path, data)
			if len(record) != len(data)+entryOverhead || binary.BigEndian.Uint32(record[1:]) != term.id {
				t.Errorf("a record of %d bytes for %d", len(record), len(data))
			}
			if plain, err := r.open(path, record); err != nil || !bytes.Equal(plain, data) {
				t.Errorf("%x opens to %x, %v", data, plain, err)
			}
		}
	})
}

func FuzzCounts(f *testing.F) {
	for _, c := range readGolden(f, "counts.json").Cases {
		f.Add(unhex(f, c.Plain))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		counts, err := unmarshalCounts(plain)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		var terms []*term
		var numbers []uint64
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			terms, numbers = append(terms, &term{id: id}), append(numbers, counts[id])
		}
		if again := marshalCounts(terms, numbers); !bytes.Equal(again, plain) {
			t.Errorf("%x decodes to something that encodes to %x", plain, again)
		}
	})
}

func FuzzRotationConfig(f *testing.F) {
	for _, c := range readGolden(f, "rotation.json").Cases {
		f.Add(unhex(f, c.Plain))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		c, err := unmarshalRotation(plain)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(c.marshal(), plain) {
			t.Errorf("%x decodes to %+v, which encodes to %x", plain, c, c.marshal())
		}
	})
}
