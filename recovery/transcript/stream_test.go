package transcript

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

// repeated is a transcript with the same record n times, without ever being in memory as a whole.
func repeated(record []byte, n int) io.Reader {
	parts := []io.Reader{strings.NewReader(`{"public_key":"` + strings.Repeat("A", 43) + `=","records":[`)}
	for i := range n {
		if i > 0 {
			parts = append(parts, strings.NewReader(","))
		}
		parts = append(parts, bytes.NewReader(record))
	}
	return io.MultiReader(append(parts, strings.NewReader("]}"))...)
}

// TestVerifyStreams verifies a file larger than the bound on memory: the code before refused it, so
// that somebody who made the transcript long enough made it unverifiable.
func TestVerifyStreams(t *testing.T) {
	filler := []byte(`{"note":"` + strings.Repeat("x", 1<<20) + `"}`)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	report, err := VerifyFile(repeated(filler, 70), public, nil)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || report.Records != 70 || report.OK() {
		t.Fatalf("%v, %v", report, err)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("it holds %d bytes", grown)
	}
	if _, err := VerifyFile(repeated([]byte(`{"note":"`+strings.Repeat("x", MaxFile+1<<20)+`"}`), 1), public,
		nil); !errors.Is(err, ErrFile) {
		t.Errorf("a record beyond the bound: %v", err)
	}
}

// TestMembersInAnyOrder checks that the key may follow the records, and that members are still
// strict.
func TestMembersInAnyOrder(t *testing.T) {
	t.Parallel()
	signed, head := chain(t, key, Head{}, records())
	raw := string(export(t, signed))
	at := strings.Index(raw, `"records"`)
	end := strings.LastIndex(raw, "}")
	keyMember, recordMember := strings.TrimSpace(raw[1:at]), raw[at:end]
	turned := "{" + recordMember + "," + strings.TrimSuffix(keyMember, ",") + "}"
	for name, known := range map[string]ed25519.PublicKey{"key given": public, "key from the file": nil} {
		if report, err := VerifyFile(strings.NewReader(turned), known, &head); err != nil || !report.OK() ||
			report.Records != 4 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	for _, bad := range []string{
		"", "[]", "null", "{", `{"records":[]`, raw + "x", raw + raw, `{"public_key":"","records":[],"records":[]}`,
		`{"public_key":"","records":{}}`, `{"public_key":"","Records":[]}`, `{"public_key":"","records":[],"more":1}`,
		`{"public_key":"","records":[{"a":1,"a":2}]}`, `{"public_key":""}`,
	} {
		if report, err := VerifyFile(strings.NewReader(bad), public, nil); !errors.Is(err, ErrFile) {
			t.Errorf("%.60s: %v, %v", bad, report, err)
		}
	}
}
