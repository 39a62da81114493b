package mount

import (
	"bytes"
	"os"
	"reflect"
	"testing"
)

func TestTableRecord(t *testing.T) {
	t.Parallel()
	want := []Entry{
		{Path: "kv/", Type: "kv", Description: "a \"b\"", Accessor: "kv_00112233",
			UUID:    "00112233-4455-4677-8899-aabbccddeeff",
			Options: map[string]string{"version": "1"}, Config: Config{DefaultLeaseTTL: 60}},
		{Path: "sys/", Type: "system", Accessor: "system_00112233", UUID: "10112233-4455-4677-8899-aabbccddeeff", Local: true,
			SealWrap: true},
	}
	b, err := marshalTable(want)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../testdata/mount/mounts-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, file) {
		t.Errorf("the record is %q", b)
	}
	got, err := unmarshalTable(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, %v", got, err)
	}
}

func TestDamagedTables(t *testing.T) {
	t.Parallel()
	const id = `"uuid":"00112233-4455-4677-8899-aabbccddeeff"`
	for name, bad := range map[string]string{
		"empty":                "",
		"version 2":            "\x02{}",
		"no JSON":              "\x01{",
		"trailing bytes":       "\x01{}{}",
		"an unknown key":       "\x01{\"mounts\":[],\"x\":1}",
		"no path":              "\x01{\"mounts\":[{" + id + "}]}",
		"a path with ..":       "\x01{\"mounts\":[{\"path\":\"../\"," + id + "}]}",
		"an id that is a path": "\x01{\"mounts\":[{\"path\":\"a/\",\"uuid\":\"../core\"}]}",
		"a path twice":         "\x01{\"mounts\":[{\"path\":\"a/\"," + id + "},{\"path\":\"a/\"," + id + "}]}",
	} {
		if _, err := unmarshalTable([]byte(bad)); err == nil {
			t.Errorf("%s was taken for a table", name)
		}
	}
}

func FuzzUnmarshalTable(f *testing.F) {
	file, err := os.ReadFile("../../testdata/mount/mounts-v1.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("\x01{\"mounts\":null}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		first, err := unmarshalTable(in)
		if err != nil {
			return
		}
		out, err := marshalTable(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := unmarshalTable(out)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if again, _ := marshalTable(second); !bytes.Equal(out, again) {
			t.Errorf("%q and %q", out, again)
		}
	})
}
