package keys

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

var update = flag.Bool("update", false, "write golden files that are missing")

const golden = "../../testdata/keys/"

// checkGolden holds a record against its golden vector.
func checkGolden(t *testing.T, name string, record []byte) {
	t.Helper()
	path := filepath.Join(golden, name)
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		err = os.WriteFile(path, record, 0o600)
		want = record
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(record, want) {
		t.Errorf("%s: the record is %x, not %x", name, record, want)
	}
}

func exampleSettings() Settings {
	return Settings{
		Spec:       Spec{Type: XChaCha20Poly1305, Derived: true, Convergent: true},
		Exportable: true, DeletionAllowed: true, ImportedRotation: true,
		Latest: 70_000, MinAvailable: 2, MinDecryption: 3, MinEncryption: 4, AutoRotate: 24 * time.Hour,
		Backup: Event{At: 1_700_000_000_000_000_001, Version: 5}, Restored: Event{At: 1_700_000_000_000_000_002, Version: 6},
	}
}

func exampleVersion() *Version {
	return &Version{
		Number: 70_000, Created: time.Unix(1_700_000_000, 3).UTC(), Provider: "pkcs11",
		Material: Material{Reference: secret.New([]byte("label of a key")), Public: []byte{1, 2, 3}},
		Chain:    [][]byte{{4, 5}, {6}},
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	s, of := exampleSettings(), id{1, 2, 3, 15: 16}
	record := s.marshal(of)
	note, err := Note{Key: "orders", Number: 7, Text: []byte("a reference")}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "note-v1.bin", note)
	checkGolden(t, "settings-v1.bin", record)
	if got, gotID, err := parseSettings(record); err != nil || got != s || gotID != of {
		t.Errorf("settings: %+v, %x, %v", got, gotID, err)
	}
	v := exampleVersion()
	b, err := v.marshal()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "version-v1.bin", b.Expose())
	got, err := parseVersion(b.Expose())
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("version: %+v, %v", got, err)
	}
	ref, err := softReference{[]byte("an HMAC key"), []byte("a private key")}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "software-v1.bin", ref.Expose())
	checkGolden(t, "garbage-v1.bin", garbage{before: 17}.marshal())
	uses := map[int]Use{1: {7, time.Unix(1_700_000_000, 9).UTC(), "token-ci"},
		300: {1, time.Unix(1_700_000_001, 0).UTC(), ""}}
	checkGolden(t, "uses-v1.bin", marshalUses(uses))
	if got, err := parseUses(marshalUses(uses)); err != nil || !reflect.DeepEqual(got, uses) {
		t.Errorf("uses: %v, %v", got, err)
	}
}

func TestDamagedSettings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Settings){
		"no version": func(s *Settings) {
			s.Latest, s.MinDecryption, s.MinEncryption,
				s.MinAvailable = 0, 0, 0, 0
		},
		"too many versions":      func(s *Settings) { s.Latest = maxVersion + 1 },
		"decryption too high":    func(s *Settings) { s.MinDecryption = s.Latest + 1 },
		"decryption of 0":        func(s *Settings) { s.MinDecryption = 0 },
		"encryption too high":    func(s *Settings) { s.MinEncryption = s.Latest + 1 },
		"available too high":     func(s *Settings) { s.MinAvailable = s.Latest + 1 },
		"an unknown type":        func(s *Settings) { s.Type = 99 },
		"a convergent RSA key":   func(s *Settings) { s.Type = RSA2048 },
		"a size of an AES key":   func(s *Settings) { s.KeySize = 32 },
		"a rotation in the past": func(s *Settings) { s.AutoRotate = -1 },
	} {
		s := exampleSettings()
		change(&s)
		if _, _, err := parseSettings(s.marshal(id{})); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSettings(f *testing.F) {
	s := exampleSettings()
	f.Add(s.marshal(id{1}))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, of, err := parseSettings(in)
		if err == nil && !bytes.Equal(s.marshal(of), in) {
			t.Errorf("%x becomes %x", in, s.marshal(of))
		}
	})
}

func FuzzVersion(f *testing.F) {
	b, err := exampleVersion().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Expose())
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := parseVersion(in)
		if err != nil {
			return
		}
		if out, err := v.marshal(); err != nil || !bytes.Equal(out.Expose(), in) {
			t.Errorf("%x becomes %x, %v", in, out.Expose(), err)
		}
	})
}

func FuzzSoftReference(f *testing.F) {
	b, err := softReference{make([]byte, 32), []byte("key")}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Expose())
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := parseSoftReference(in)
		if err != nil {
			return
		}
		if out, err := r.marshal(); err != nil || !bytes.Equal(out.Expose(), in) {
			t.Errorf("%x becomes %x, %v", in, out.Expose(), err)
		}
	})
}

func FuzzUses(f *testing.F) {
	f.Add(marshalUses(map[int]Use{1: {7, time.Unix(1_700_000_000, 9), "token-ci"}, 2: {}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		if uses, err := parseUses(in); err == nil && !bytes.Equal(marshalUses(uses), in) {
			t.Errorf("%x becomes %x", in, marshalUses(uses))
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	kek := bytes.Repeat([]byte{7}, 32)
	for _, n := range []int{1, 7, 8, 9, 32} {
		w, err := wrapKWP(kek, bytes.Repeat([]byte{9}, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		key, err := unwrapKWP(kek, in)
		if err != nil {
			return
		}
		if out, err := wrapKWP(kek, key); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%x becomes %x, %v", in, out, err)
		}
	})
}

func FuzzNote(f *testing.F) {
	record, err := Note{Key: "orders", Number: 7, Text: []byte("a reference")}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNote(b)
		if err != nil {
			return
		}
		if again, err := n.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is encoded again as %x, %v", b, again, err)
		}
	})
}
