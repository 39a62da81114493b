package mount

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
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

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   any
		want time.Duration
	}{
		{nil, 0}, {"", 0}, {json.Number("90"), 90 * time.Second}, {"90", 90 * time.Second}, {"1h30m", 90 * time.Minute},
		{"2d", 48 * time.Hour}, {1.5, 1500 * time.Millisecond}, {7, 7 * time.Second}, {" 5s ", 5 * time.Second},
		{"-1", -time.Second},
	} {
		if got, err := ParseDuration(tc.in); err != nil || got != tc.want {
			t.Errorf("ParseDuration(%v) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
	for _, bad := range []any{"x", "1x", "d", true, []any{}, "1e300", json.Number("9223372037"), "NaN", "Inf", "NaNd",
		strings.Repeat("9", 400)} {
		if got, err := ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%v) = %v", bad, got)
		}
	}
}
