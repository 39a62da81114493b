package device

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files that are missing")

// checkGolden holds a record against its golden vector.
func checkGolden(t *testing.T, name string, record []byte) {
	t.Helper()
	path := filepath.Join("..", "..", "..", "testdata", "keys", name)
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		err = os.WriteFile(path, record, 0o600)
		want = record
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(record, want) {
		t.Errorf("%s: the record is %q, not %q", name, record, want)
	}
}

func exampleReference() reference {
	return reference{Managed, "pkcs11/orders", Ref{"orders.0011.v2", "a1b2"}, "pkcs11:object=orders.0011.v2;id=%A1%B2"}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	entry := Entry{ID: "0e5e6a10-0000-4000-8000-000000000000", Face: External, Type: "pkcs11", Config: "c1", Name: "a",
		Params: Params{"key_label": "orders"}, Usages: []Usage{Encrypt, Decrypt}, AllowGenerate: true, AllowStore: true,
		AllowDestroy: true, AllowReplace: true, AnyMount: true, Mounts: []string{"transit/"}, Identity: "pkcs11:object=a"}
	config := Config{Name: "c1", Type: "pkcs11", Params: Params{"library": "hsm1", "pin": "1234"}}
	bound := entry
	bound.MountIDs = map[string]string{"transit/": "6c1d7b20-0000-4000-8000-000000000000"}
	reserved := Reserved{Type: "pkcs11", Identity: "pkcs11:object=a", Label: "pkcs11/a", Active: true}
	for name, v := range map[string]any{
		"device-entry-v1.bin": &entry, "device-entry-v2.bin": &bound, "device-config-v1.bin": &config,
		"device-reserved-v1.bin": &reserved,
	} {
		record, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, name, record.Expose())
		back := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if err := unmarshal(record.Expose(), back); err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("%s: read back as %+v, %v", name, back, err)
		}
		for what, damaged := range map[string][]byte{
			"another version": append([]byte{record.Expose()[0] ^ 3}, record.Expose()[1:]...),
			"trailing bytes":  append(record.Expose(), '{'), "nothing": nil,
			"an unknown member": []byte("\x01{\"other\":1}"),
		} {
			if err := unmarshal(damaged, back); !errors.Is(err, ErrRecord) {
				t.Errorf("%s with %s: %v", name, what, err)
			}
		}
	}
	ref, err := exampleReference().marshal()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "device-reference-v1.bin", ref.Expose())
	if got, err := parseReference(ref.Expose()); err != nil || got != exampleReference() {
		t.Errorf("the reference is read back as %+v, %v", got, err)
	}
	r := rootedReference{lease: 10 * time.Minute, uses: 7, root: exampleReference(), wrapped: []byte{1, 2, 3}}
	root, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "device-rooted-v2.bin", root.Expose())
	if got, err := parseRooted(root.Expose()); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("the rooted reference is read back as %+v, %v", got, err)
	}
}

func TestNamesAndParameters(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "a/b", "a:b", "..", ".", "a b", "a%2f", string(make([]byte, maxName+1))} {
		if err := checkName("key", bad); err == nil {
			t.Errorf("the name %q is accepted", bad)
		}
	}
	of := Parameters{Secret: []string{"pin"}, Ignored: []string{"force_rw_session"}}
	known := []string{"pin", "slot"}
	stored := Params{"pin": "1234", "slot": "1"}
	for _, tc := range []struct {
		given, want Params
	}{
		{Params{"slot": "2"}, Params{"pin": "1234", "slot": "2"}},
		{Params{"slot": ""}, Params{"pin": "1234"}},
		{Params{"pin": Redacted, "force_rw_session": "true"}, stored},
		{Params{"pin": "5678"}, Params{"pin": "5678", "slot": "1"}},
		{Params{"library": "x"}, nil}, {Params{"pin": " ENV://HOME"}, nil}, {Params{"slot": "File:///etc/passwd"}, nil},
	} {
		got, err := merge(stored, tc.given, known, of)
		if (err != nil) != (tc.want == nil) || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v: %v, %v", map[string]string(tc.given), map[string]string(got), err)
		}
	}
}

func FuzzReference(f *testing.F) {
	ref, err := exampleReference().marshal()
	if err != nil {
		f.Fatal(err)
	}
	root, err := rootedReference{uses: 3, lease: time.Minute, root: exampleReference()}.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ref.Expose())
	f.Add(root.Expose())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseReference(b); err == nil {
			if again, err := r.marshal(); err != nil || !bytes.Equal(again.Expose(), b) {
				t.Errorf("%x is encoded again as %x, %v", b, again.Expose(), err)
			}
		}
		if r, err := parseRooted(b); err == nil {
			if again, err := r.marshal(); err != nil || !bytes.Equal(again.Expose(), b) {
				t.Errorf("%x is encoded again as %x, %v", b, again.Expose(), err)
			}
		}
	})
}
