package api

import (
	"reflect"
	"strings"
	"testing"
)

var documents = []string{
	`{}`, ` { "a" : 1 } `, `{"a":"b","c":[1,-2.5e+10,true,false,null,"x",{},[]],"d":{"e":{"f":"g"}}}`,
	`{"a":1,"a":2}`, `{"a":{"x":1},"a":{"y":2}}`, `{"a":"\u00e9\n\"\\\ud83d\ude00\ud800"}`, `{"a":"é"}`,
	"{\"a\":\"\xff\"}",
	"{\"\xff\":1}", `{"\u0061":1,"a":2}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1E-2}`,
	`{"a":+1}`, `{"a":tru}`, `{"a":nul}`, `{"a":"b}`, `{"a":"b\"}`, "{\"a\":\"\n\"}", `{"a" 1}`, `{"a":}`, `{"a":1,}`,
	`{,}`, `{"a":[1,]}`, `{"a":[}`, `{"a":1}}`, `{"a":1}{}`, `{"a":1} x`, `null`, `[]`, `"x"`, ``, `{`, `{"a"`, `{"a":`,
	`{"a":[`, "\ufeff{}", `{'a':1}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":0x1}`, `{"a":NaN}`, `{"":""}`,
	`{"batch_input":[{"plaintext":"YQ=="},{"plaintext":"Yg==","reference":"r"}]}`, "{\"a\":\"\x7f\"}",
	`{"a":-0}`, `{"a":-01}`,
}

// same compares the decoder with encoding/json.
func same(t *testing.T, body string) {
	t.Helper()
	got, err := decodeObject([]byte(body))
	want, wantErr := decodeSlowly([]byte(body))
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Fatalf("%q: %v; want %v", body, err, wantErr)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: %#v; want %#v", body, got, want)
	}
	if d := (decoder{body: []byte(body)}); wantErr == nil && strings.TrimLeft(body, " \t\r\n") != "" && want != nil {
		if _, ok := d.document(); !ok {
			t.Fatalf("%q is valid, and was left to encoding/json", body)
		}
	}
}

func TestDecodeAsEncodingJSON(t *testing.T) {
	for _, body := range documents {
		same(t, body)
	}
}

func FuzzDecodeAsEncodingJSON(f *testing.F) {
	for _, body := range documents {
		f.Add([]byte(body))
	}
	limits := &Limits{JSONDepth: 100, JSONStrings: 1000, JSONMemory: 1 << 20}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := checkJSON(body, limits); err == nil {
			same(t, string(body))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	item := `{"plaintext":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}`
	for name, body := range map[string]string{"one": item,
		"batch": `{"batch_input":[` + strings.TrimSuffix(strings.Repeat(item+",", 100), ",") + `]}`} {
		for kind, decode := range map[string]func([]byte) (map[string]any, error){"ours": decodeObject,
			"json": decodeSlowly} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decode([]byte(body)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
