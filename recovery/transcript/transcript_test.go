package transcript

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/recovery"
)

var (
	key      = ed25519.NewKeyFromSeed([]byte("thirty-two bytes that sign tests"))
	otherKey = ed25519.NewKeyFromSeed([]byte("thirty-two bytes of a stranger's"))
	public   = key.Public().(ed25519.PublicKey)
	start    = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
)

// records are four ceremonies that use every field.
func records() []Record {
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	return []Record{
		{
			Cluster: "c1", Purpose: "init", Started: at(0), Finished: at(0), Outcome: Completed,
			Shares: 3, Threshold: 2, Holders: []string{"alice", "bob", "Zoë <z>"}, GenerationAfter: 1,
		},
		{
			Cluster: "c1", Purpose: "rekey-recovery", Nonce: "11111111-2222-4333-8444-555555555555",
			Started: at(10), StartedBy: "root", StartedAccessor: "accessor1", Required: 2, Shares: 2, Threshold: 2,
			Verification: true, Backup: true, Fingerprints: []string{"aa11", "bb22"},
			Holders: []string{"alice", "carol"},
			Given:   []Share{{1, "alice", at(11)}, {3, "Zoë <z>", at(12)}},
			Proven:  []Share{{2, "carol", at(20)}, {1, "alice", at(21)}},
			Outcome: Completed, Finished: at(21), GenerationBefore: 1, GenerationAfter: 2,
		},
		{
			Cluster: "c1", Purpose: "generate-root", Nonce: "n3", Started: at(30), Required: 2,
			Given:   []Share{{2, "carol", at(31)}},
			Outcome: Cancelled, Finished: at(40), EndedBy: "ops", EndedAccessor: "accessor2", GenerationBefore: 2,
			GenerationAfter: 2,
		},
		{
			Cluster: "c1", Purpose: "rekey-barrier", Nonce: "n4", Started: at(50), StartedBy: "ops", Required: 2,
			Outcome: Failed, Reason: "the seal \"hsm\" could not wrap the new root key", Finished: at(51),
			GenerationBefore: 2, GenerationAfter: 2,
		},
	}
}

func chain(t testing.TB, key ed25519.PrivateKey, from Head, list []Record) ([]*Signed, Head) {
	t.Helper()
	var out []*Signed
	for _, r := range list {
		s, head, err := Append(key, from, r)
		if err != nil {
			t.Fatal(err)
		}
		out, from = append(out, s), head
	}
	return out, from
}

func export(t testing.TB, signed []*Signed) []byte {
	t.Helper()
	raw, err := json.MarshalIndent(File{PublicKey: public, Records: signed}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func problems(r *Report) []string {
	out := []string{}
	for _, p := range r.Problems {
		out = append(out, p.String())
	}
	return out
}

func TestAWholeChainVerifies(t *testing.T) {
	t.Parallel()
	signed, head := chain(t, key, Head{}, records())
	raw := export(t, signed)
	for name, known := range map[string]ed25519.PublicKey{"key given": public, "key from the file": nil} {
		report, err := VerifyFile(bytes.NewReader(raw), known, &head)
		if err != nil || !report.OK() || report.Records != 4 || report.Head != head ||
			report.KeyFromFile != (known == nil) {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	earlier := signed[1].Head()
	if report, err := VerifyFile(bytes.NewReader(raw), public, &earlier); err != nil || !report.OK() {
		t.Errorf("with an earlier head: %v, %v", report, err)
	}
	if report, err := VerifyFile(bytes.NewReader(export(t, nil)), nil, nil); err != nil || !report.OK() ||
		report.Head != (Head{}) {
		t.Errorf("without records: %v, %v", report, err)
	}
	if report, err := VerifyFile(strings.NewReader(`{"public_key":"", "records":[]}`), public, nil); err != nil ||
		report.OK() {
		t.Errorf("without a key: %v, %v", report, err)
	}
	if _, err := VerifyFile(strings.NewReader(`{"records":[]}`), nil, nil); !errors.Is(err, ErrFile) {
		t.Errorf("without any key: %v", err)
	}
}

// TestNoByteIsOverlooked changes single characters of an export, every third, and expects that it
// is noticed.
func TestNoByteIsOverlooked(t *testing.T) {
	t.Parallel()
	signed, head := chain(t, key, Head{}, records()[1:2])
	raw, err := json.Marshal(File{PublicKey: public, Records: signed})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 3 {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		report, err := VerifyFile(bytes.NewReader(bad), public, &head)
		if err == nil && report.OK() {
			t.Fatalf("byte %d (%q to %q) was changed unnoticed: ...%s...", i, raw[i], bad[i],
				bad[max(0, i-20):min(len(bad), i+20)])
		}
	}
}

// TestAnAlteredFieldIsNamed alters each field's value, its listed hash, and both, and expects its
// name.
func TestAnAlteredFieldIsNamed(t *testing.T) {
	t.Parallel()
	signed, _ := chain(t, key, Head{}, records())
	for i, f := range new(Record).fields() {
		for what, alter := range map[string]func(record map[string]any){
			"value": func(r map[string]any) {
				r["record"].(map[string]any)[f.name] = other(r["record"].(map[string]any)[f.name])
			},
			"removed": func(r map[string]any) { delete(r["record"].(map[string]any), f.name) },
			"type":    func(r map[string]any) { r["record"].(map[string]any)[f.name] = map[string]any{} },
			"hash":    func(r map[string]any) { r["fields"].(map[string]any)[f.name] = Hash{byte(i)}.String() },
			"no hash": func(r map[string]any) { delete(r["fields"].(map[string]any), f.name) },
			"value, and record's hash": func(r map[string]any) {
				r["record"].(map[string]any)[f.name] = other(r["record"].(map[string]any)[f.name])
				r["hash"] = Hash{}.String()
			},
		} {
			got := problems(altered(t, signed, 1, alter))
			want := fmt.Sprintf("record 2: field %q", f.name)
			if len(got) == 0 || !strings.HasPrefix(got[0], want) || len(got) > 1 && what != "value, and record's hash" {
				t.Errorf("%s of %s: %q", what, f.name, got)
			}
		}
	}
}

// other is a value of the same type that differs.
func other(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return ""
		}
		return v + "x"
	case float64:
		return v + 1
	case bool:
		return !v
	case []any:
		return v[:max(0, len(v)-1)]
	}
	return nil
}

// altered verifies a chain in whose JSON one record was altered.
func altered(t *testing.T, signed []*Signed, place int, alter func(map[string]any)) *Report {
	t.Helper()
	var file map[string]any
	if err := json.Unmarshal(export(t, signed), &file); err != nil {
		t.Fatal(err)
	}
	alter(file["records"].([]any)[place].(map[string]any))
	raw, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyFile(bytes.NewReader(raw), public, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestSeveralAlterationsAtOnceAreToldApart(t *testing.T) {
	t.Parallel()
	signed, _ := chain(t, key, Head{}, records())
	got := problems(altered(t, signed, 2, func(r map[string]any) {
		r["record"].(map[string]any)["outcome"] = "completed"
		r["fields"].(map[string]any)["ended_by"] = Hash{}.String()
		r["seq"] = 9
		r["previous"] = Hash{}.String()
	}))
	want := []string{
		`record 3: field "seq" was altered`,
		`record 3: field "previous" was altered`,
		`record 3: field "outcome" was altered: it does not match its hash`,
		`record 3: field "ended_by" has an altered or missing hash in the list; its value is genuine`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestJSONThatReadsInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	signed, _ := chain(t, key, Head{}, records())
	raw := string(export(t, signed))
	for name, edit := range map[string][2]string{
		"a key twice":              {`"outcome": "completed",`, `"outcome": "failed", "outcome": "completed",`},
		"a key in capitals":        {`"outcome": "completed",`, `"Outcome": "failed", "outcome": "completed",`},
		"null for an empty text":   {`"ended_by": ""`, `"ended_by": null`},
		"a time in another zone":   {`"2026-01-02T03:14:05.000000006Z"`, `"2026-01-02T04:14:05.000000006+01:00"`},
		"a share without its name": {`"name": "alice",`, ``},
		"a share with more":        {`"name": "alice",`, `"name": "alice", "note": "x",`},
		"a field that is none":     {`"outcome": "completed",`, `"outcome": "completed", "approved": true,`},
		"a hash in capitals": {`"previous": "` + signed[0].Hash().String(),
			`"previous": "` + strings.ToUpper(signed[0].Hash().String())},
		"another version":           {`"version": 1`, `"version": 2`},
		"another file's key":        {`"records": [`, `"note": 1, "records": [`},
		"a number with a dot":       {`"threshold": 2`, `"threshold": 2.0`},
		"bytes behind the document": {"\n}", "\n} {}"},
	} {
		bad := strings.Replace(raw, edit[0], edit[1], 1)
		if bad == raw {
			t.Fatalf("%s: nothing was edited", name)
		}
		if report, err := VerifyFile(strings.NewReader(bad), public, nil); err == nil && report.OK() {
			t.Errorf("%s: passed", name)
		}
	}
	if report, err := VerifyFile(strings.NewReader(strings.ReplaceAll(raw, "\n", " \t\r\n")), public,
		nil); err != nil || !report.OK() {
		t.Errorf("white space matters: %v, %v", report, err)
	}
}

func TestAppendRefusesWhatItCannotSay(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Record){
		"purpose":  func(r *Record) { r.Purpose = strings.Repeat("x", maxText+1) },
		"reason":   func(r *Record) { r.Reason = strings.Repeat("x", maxReason+1) },
		"nonce":    func(r *Record) { r.Nonce = "\xff" },
		"shares":   func(r *Record) { r.Shares = -1 },
		"holders":  func(r *Record) { r.Holders = make([]string, MaxShares+1) },
		"given":    func(r *Record) { r.Given = []Share{{Number: 256}} },
		"proven":   func(r *Record) { r.Proven = make([]Share, 1) },
		"started":  func(r *Record) { r.Started = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) },
		"finished": func(r *Record) { r.Finished = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := records()[1]
		spoil(&r)
		head := Head{Seq: 4}
		if s, after, err := Append(key, head, r); !errors.Is(err, ErrRecord) || s != nil || after != head ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	signed, head := chain(t, key, Head{}, records())
	for _, s := range signed {
		got, err := Unmarshal(s.Marshal())
		if err != nil || !reflect.DeepEqual(got, s) || !got.Verify(public) ||
			got.Verify(otherKey.Public().(ed25519.PublicKey)) {
			t.Errorf("from its record: %v", err)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Signed)
		if err := json.Unmarshal(raw, again); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("from JSON: %v", err)
		}
		bad := bytes.Replace(raw, []byte(`"c1"`), []byte(`"c2"`), 1)
		if err := json.Unmarshal(bad, again); !errors.Is(err, ErrRecord) ||
			!strings.Contains(err.Error(), `"cluster"`) {
			t.Errorf("altered JSON: %v", err)
		}
	}
	if got, err := UnmarshalHead(head.Marshal()); err != nil || got != head {
		t.Errorf("a head: %v", err)
	}
	if got, err := ParseHead(head.String()); err != nil || got != head {
		t.Errorf("a head as text: %v", err)
	}
	for _, text := range []string{"", "4", "4:", "x:" + head.Hash.String(),
		"4:" + strings.ToUpper(head.Hash.String()), "4:" + head.Hash.String() + "0"} {
		if _, err := ParseHead(text); !errors.Is(err, ErrRecord) {
			t.Errorf("%q is a head", text)
		}
	}
}

// TestLargestRecordFits fills every field to its bound, with the characters that JSON makes
// longest.
func TestLargestRecordFits(t *testing.T) {
	t.Parallel()
	r := Record{Reason: strings.Repeat("\x01", maxReason)}
	for range MaxShares {
		r.Fingerprints = append(r.Fingerprints, strings.Repeat("f", recovery.MaxFingerprint))
		r.Holders = append(r.Holders, strings.Repeat("<", recovery.MaxName))
		r.Given = append(r.Given, Share{MaxShares, strings.Repeat("<", recovery.MaxName), start})
		r.Proven = r.Given
	}
	signed, head := chain(t, key, Head{}, []Record{r})
	if n := len(signed[0].Marshal()); n > maxSigned {
		t.Errorf("its record has %d bytes", n)
	}
	if report, err := VerifyFile(bytes.NewReader(export(t, signed)), public, &head); err != nil || !report.OK() {
		t.Errorf("%v, %v", report, err)
	}
}

func TestOfACeremony(t *testing.T) {
	t.Parallel()
	authority, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, nil, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.NameHolders([]string{"alice", "bob", "carol"}); err != nil {
		t.Fatal(err)
	}
	c, err := recovery.Start(recovery.PurposeRekeyRecovery, authority,
		recovery.Params{Shares: 2, Threshold: 2, Verification: true},
		recovery.Origin{By: "root", Accessor: "acc", Now: start})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 0} {
		if _, err := c.Give(authority, c.Nonce, shares[n], start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	next, fresh, err := recovery.NewShareSet(recovery.Recovery, authority, 2, 2, nil, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Await(next, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(c.VerificationNonce, fresh[1], start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := Record{
		Purpose: "rekey-recovery", Nonce: c.Nonce, Started: start, StartedBy: "root", StartedAccessor: "acc",
		Required: 2, Shares: 2, Threshold: 2, Verification: true,
		Given:            []Share{{3, "carol", start.Add(time.Minute)}, {1, "alice", start.Add(time.Minute)}},
		Proven:           []Share{{2, "", start.Add(time.Hour)}},
		GenerationBefore: 1, GenerationAfter: 1,
	}
	if got := Of(c, authority); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := Of(c, next); got.Given[0].Name != "" {
		t.Error("names of another share set were taken")
	}
}

func BenchmarkAppend(b *testing.B) {
	r := records()[1]
	for b.Loop() {
		if _, _, err := Append(key, Head{}, r); err != nil {
			b.Fatal(err)
		}
	}
}
