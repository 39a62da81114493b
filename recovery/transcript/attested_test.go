package transcript

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// exported is a file with an attested head.
func exported(t testing.TB, head Head, signed []*Signed) []byte {
	t.Helper()
	raw, err := json.Marshal(File{PublicKey: public, Records: signed,
		Head: Attest(key, head, time.Unix(1_800_000_000, 7))})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestAttestedHead: the head in a file shows what was cut off since the file was made, and cannot
// be exchanged.
func TestAttestedHead(t *testing.T) {
	t.Parallel()
	signed, head := chain(t, key, Head{}, records())
	file := string(exported(t, head, signed))
	older := string(exported(t, signed[0].Head(), signed))
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := json.Marshal(Attest(stranger, signed[0].Head(), time.Unix(1_800_000_000, 7)))
	if err != nil {
		t.Fatal(err)
	}
	own, err := json.Marshal(Attest(key, head, time.Unix(1_800_000_000, 7)))
	if err != nil {
		t.Fatal(err)
	}
	n := len(signed)
	const altered = `field "head" does not verify: it was altered, or the key is another one`
	for name, c := range map[string]struct {
		file    string
		checked int
		want    []string
	}{
		"genuine":          {file, 1, nil},
		"an older head":    {older, 1, nil},
		"the last cut off": {string(exported(t, head, signed[:n-1])), 1, []string{"record 4: is missing at the end"}},
		"all cut off": {string(exported(t, head, nil)), 1,
			[]string{"record 1: is missing at the end, and so are all records up to 4"}},
		"another time":   {strings.Replace(file, "2027-01-15T08:00:00", "2027-01-15T09:00:00", 1), 0, []string{altered}},
		"another number": {strings.Replace(file, `"seq":4`, `"seq":3`, 1), 0, []string{altered}},
		"of another key": {strings.Replace(file, string(own), string(foreign), 1), 0, []string{altered}},
		"without a head": {strings.Replace(file, `"head":`+string(own)+",", "", 1), 0, nil},
		"a head that is not": {strings.Replace(file, string(own), `{"seq":4}`, 1), 0, []string{
			`field "head" is unreadable: not a valid transcript record: the head has no time or no signature`}},
	} {
		report, err := VerifyFile(strings.NewReader(c.file), public, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := problems(report); !slices.Equal(got, c.want) || len(report.Checked) != c.checked {
			t.Errorf("%s: %q, checked against %v", name, got, report.Checked)
		}
	}
	var f File
	if err := json.Unmarshal([]byte(file), &f); err != nil || !f.Head.Verify(public) {
		t.Errorf("decoded again: %+v, %v", f.Head, err)
	}
	if again, err := json.Marshal(f); err != nil || !bytes.Equal(again, []byte(file)) {
		t.Errorf("encoded again: %s, %v", again, err)
	}
}
