package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// leaves lists the strings of a decoded value that are no keys.
func leaves(v any, into *[]string) any {
	switch v := v.(type) {
	case string:
		*into = append(*into, v)
		return "x"
	case []any:
		for i := range v {
			v[i] = leaves(v[i], into)
		}
	case map[string]any:
		for k := range v {
			v[k] = leaves(v[k], into)
		}
	}
	return v
}

// FuzzRedact: whatever comes, nothing panics; of JSON the shape stays, every string becomes a hash,
// and no line has a second one.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{
		`{"a":"b","c":[1,-2.5e3,true,false,null,"d",{"e":"\u00e9\n"}],"":{}}`, `[]`, `"x"`,
		`{"keys":["a"],"key_info":{"a":1}}`, "{\"\u2028\":\"\xff\"}",
		`{"a":"\ud800"}`, `{`, `{"a"}`, `[1,]`, `nul`, `01`, strings.Repeat("[", 2000), ` { "a" : [ ] } `, `0.02E2200`,
	} {
		f.Add([]byte(s), true)
	}
	h := newHasher("salt")
	f.Fuzz(func(t *testing.T, src []byte, elide bool) {
		fo := &formatter{hash: h}
		out, err := fo.data([]byte{'{'}, "d", src, nil, true, elide)
		if err != nil {
			if json.Valid(src) && depth(src) < maxDepth {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		out = append(out, '}')
		if !json.Valid(src) || !json.Valid(out) || bytes.ContainsAny(out, "\n\r\u2028\u2029") {
			t.Fatalf("%q became %q", src, out)
		}
		if elide {
			return
		}
		var before any
		var after struct{ D any }
		if exactly(src, &before) != nil || exactly(out, &after) != nil {
			t.Fatalf("%q became %q", src, out)
		}
		var was, is []string
		if !reflect.DeepEqual(leaves(before, &was), leaves(after.D, &is)) {
			t.Fatalf("%q became %q", src, out)
		}
		for _, s := range is {
			if len(s) != len(hashPrefix)+64 || !strings.HasPrefix(s, hashPrefix) {
				t.Fatalf("%q became %q", src, out)
			}
		}
	})
}

// exactly decodes numbers as they are written: there is no largest one.
func exactly(src []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	return d.Decode(into)
}

func depth(src []byte) int { return bytes.Count(src, []byte("[")) + bytes.Count(src, []byte("{")) }

// FuzzTable: what decodes encodes to the same, and nothing panics.
func FuzzTable(f *testing.F) {
	full := table{
		Devices: []stored{newStored(Config{Path: "file/", Type: "file", Options: map[string]string{"file_path": "x"}},
			"0f0f0f0f-0000-4000-8000-000000000001")},
		Headers: []header{{"x-a", true}},
	}
	value, err := full.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte{1})
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tab, err := unmarshalTable(raw)
		if err != nil {
			return
		}
		once, err := tab.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := unmarshalTable(once)
		if err != nil {
			t.Fatalf("%q: %v", once, err)
		}
		if twice, err := again.marshal(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q: %v", once, twice, err)
		}
	})
}

// TestStoredForms pins what lies behind the barrier.
func TestStoredForms(t *testing.T) {
	t.Parallel()
	b := active(t)
	if err := b.trail.Enable(t.Context(), Config{Path: "file", Type: "file", Description: "main",
		Options: map[string]string{"file_path": "discard"}}); err != nil {
		t.Fatal(err)
	}
	if err := b.trail.SetHeader(t.Context(), "X-Trace", true); err != nil {
		t.Fatal(err)
	}
	value, err := b.store.Get(t.Context(), tableKey)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", strings.ReplaceAll(string(value), "\x01", "version 1 ")+"\n")
	for _, bad := range []string{
		"", "\x02{}", "\x01", "\x01{}x", `{}`, "\x01" + `{"devices":[{"path":"a","type":"file","uuid":"x"}]}`, "\x01" +
			`{"other":1}`,
		"\x01" + `{"headers":[{"name":"b"},{"name":"a"}]}`, "\x01" + `{"headers":[{"name":"X-Vault-Token"}]}`,
	} {
		if _, err := unmarshalTable([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
