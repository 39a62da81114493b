package v1

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	chain "github.com/sealgate/sealgate/recovery/transcript"
)

// TestTranscripts: every ceremony that ended is listed, shown and exported, and what is exported
// verifies.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2,"holders":["alice","bob"]}`).RecoveryKeys
	w.expect("no ceremony yet", w.do("LIST", "sys/recovery/transcripts", ""), 404, empty)
	nonce := w.ask("PUT", "sys/rotate/root/init", `{"secret_shares":1,"secret_threshold":1}`).Nonce
	for _, k := range keys {
		w.ask("PUT", "sys/rekey/update", share(k, nonce))
	}
	w.ask("PUT", "sys/generate-root/attempt", `{}`)
	w.ask("DELETE", "sys/generate-root/attempt", "")
	want := []string{"00000001-rekey-barrier", "00000002-generate-root"}
	for _, path := range []string{
		"LIST sys/recovery/transcripts", "GET sys/recovery/transcripts", "GET sys/recovery/transcripts?list=true",
		"LIST sys/recovery/transcripts/",
	} {
		method, path, _ := strings.Cut(path, " ")
		var r struct{ Data struct{ Keys []string } }
		if w.decode(w.do(method, path, ""), &r); !slices.Equal(r.Data.Keys, want) {
			t.Errorf("%s %s: %q", method, path, r.Data.Keys)
		}
	}
	var one struct {
		Data struct {
			Record struct {
				Record struct {
					Purpose string `json:"purpose"`
					Given   []struct{ Name string }
				} `json:"record"`
			} `json:"record"`
		} `json:"data"`
	}
	w.decode(w.do("GET", "sys/recovery/transcripts/"+want[0], ""), &one)
	if r := one.Data.Record.Record; r.Purpose != "rekey-barrier" {
		t.Errorf("the first record: %+v", r)
	}
	for _, name := range []string{"00000003", "00000003-x", "x", "00000001-x", "00000001-generate-root",
		"99999999999999999999999"} {
		w.expect(name, w.do("GET", "sys/recovery/transcripts/"+name, ""), 404, empty)
	}
	var all struct {
		Data json.RawMessage `json:"data"`
	}
	w.decode(w.do("GET", "sys/recovery/transcript", ""), &all)
	var file chain.File
	if err := json.Unmarshal(all.Data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Records) != 2 || len(file.PublicKey) == 0 {
		t.Errorf("the export has %d records", len(file.Records))
	}
	for _, k := range keys {
		if strings.Contains(string(all.Data), k) {
			t.Error("the export shows a share")
		}
	}
	w.expect("the export without a token", w.do("GET", "sys/recovery/transcript", "", "X-Vault-Token", ""), 403, "")
}
