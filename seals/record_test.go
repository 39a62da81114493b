package seals

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// sampleRecord returns a record of a format version; those from version 2 on have tags by fixed
// keys.
func sampleRecord(t testing.TB, version int) *Record {
	t.Helper()
	r := &Record{
		Version:    version,
		Generation: 7, Cluster: "0b0c2f6e-5a52-4f0e-9a3f-7d7f3a1f0001", Threshold: 2, ShareSet: []byte("people"),
		Previous: &Previous{
			ShareSet: []byte("those before"),
			Part: Part{Name: "quorum", Type: "shamir", KeyID: "shamir:00",
				Digest: digest([]byte("part 0")), Blob: &wrapping.BlobInfo{Ciphertext: []byte("c0")}},
		},
		Parts: []Part{
			{Name: "hsm", Type: "pkcs11", KeyID: "serial=1;label=k", Digest: digest([]byte("part 1")),
				Blob: &wrapping.BlobInfo{
					Ciphertext: []byte("c1"),
					Iv:         []byte("iv"),
					KeyInfo:    &wrapping.KeyInfo{KeyId: "k", Mechanism: 0x1087},
				}},
			{Name: "cloud", Type: "awskms", KeyID: "arn:aws:kms:x", KeyVersion: "3", Digest: digest([]byte("part 2")),
				Blob: &wrapping.BlobInfo{Ciphertext: []byte("c2")}},
			{Name: "empty", Type: "static", Digest: digest(nil), Blob: &wrapping.BlobInfo{}},
		},
	}
	if version == 3 {
		r.Terms = []Term{{1, 1}, {1, 2}}
	}
	keys := RecordKeys{Quorum: fixedSecret(2), Previous: fixedSecret(3)}
	if err := r.Authenticate(fixedSecret(1), keys); err != nil {
		t.Fatal(err)
	}
	return r
}

func fixedSecret(b byte) *Secret { return NewSecret(bytes.Repeat([]byte{b}, RootKeyLen)) }

const golden = "../testdata/seals"

// TestRecordGolden reads bytes that were written once and are never edited: a program that cannot
// read them locks its users out.
func TestRecordGolden(t *testing.T) {
	for version, file := range map[int]string{
		1: "record-v1-two-of-three.bin", 2: "record-v2-two-of-three.bin", 3: "record-v3-one-and-any-of-two.bin",
	} {
		checkGolden(t, version, file)
	}
}

func checkGolden(t *testing.T, version int, file string) {
	t.Helper()
	want, err := sampleRecord(t, version).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(golden, file)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the record is written as\n%x\nthe golden vector is\n%x", want, got)
	}
	r, err := UnmarshalRecord(got)
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != version || r.Generation != 7 || r.Threshold != 2 || len(r.Parts) != 3 ||
		r.Parts[1].KeyVersion != "3" ||
		string(r.ShareSet) != "people" {
		t.Errorf("read back as %+v", r)
	}
}

func TestRecordRefuses(t *testing.T) {
	good, err := sampleRecord(t, 2).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	double := sampleRecord(t, 1)
	double.Parts[1].Name = "hsm"
	doubled, err := double.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	over := sampleRecord(t, 1)
	over.Threshold = 4
	greedy, err := over.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "a later version": append([]byte{4}, good[1:]...), "a byte more": append(bytes.Clone(good), 0),
		"two parts of one name": doubled, "more needed than there are": greedy, "too much": make([]byte, maxRecord+1),
	} {
		if _, err := UnmarshalRecord(data); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
	for name, terms := range map[string][]Term{
		"no terms": nil, "no groups": {{1, 1}, {1, 1}, {1, 1}}, "one term": {{2, 3}}, "too few parts": {{1, 1}, {1, 1}},
		"too many parts": {{1, 2}, {1, 2}}, "a group that cannot be met": {{1, 1}, {3, 2}},
		"an empty one":            {{1, 1}, {0, 0}, {1, 2}},
		"a group of no threshold": {{1, 1}, {0, 2}}, "a threshold over the terms": {{1, 3}},
	} {
		r := sampleRecord(t, 3)
		r.Terms = terms
		data, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := UnmarshalRecord(data); !errors.Is(err, ErrRecord) {
			t.Errorf("version 3, %s: %v, want ErrRecord", name, err)
		}
	}
	grouped, err := sampleRecord(t, 3).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for cut := range grouped {
		if _, err := UnmarshalRecord(grouped[:cut]); !errors.Is(err, ErrRecord) {
			t.Errorf("version 3 cut after %d bytes: %v, want ErrRecord", cut, err)
		}
	}
	for cut := range good {
		if _, err := UnmarshalRecord(good[:cut]); !errors.Is(err, ErrRecord) {
			t.Errorf("cut after %d bytes: %v, want ErrRecord", cut, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, version := range []int{1, 2, 3} {
		good, err := sampleRecord(f, version).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := UnmarshalRecord(data)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatalf("a record that was read cannot be written: %v", err)
		}
		r2, err := UnmarshalRecord(again)
		if err != nil {
			t.Fatalf("a record that was written cannot be read: %v", err)
		}
		third, err := r2.Marshal()
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("write(read(x)) is not stable: %v", err)
		}
	})
}
