package v1

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	chain "github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
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

// TestCoSign: a holder's signature of a record is verified, stored, shown, exported and verified
// again; one of another record, or of nothing, is refused.
func TestCoSign(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.authorize("restore")
	w.authorize("restore")
	record := func(name string) chain.Signed {
		t.Helper()
		var out struct {
			Data struct{ Record chain.Signed }
		}
		w.decode(w.do("GET", "sys/recovery/transcripts/"+name, ""), &out)
		return out.Data.Record
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	first, second := record("1"), record("00000002-authorize-restore")
	sign := func(h chain.Head, name string) string {
		t.Helper()
		s, err := cosign.Sign(h, name, pem.EncodeToMemory(block), nil, moment)
		if err != nil {
			t.Fatal(err)
		}
		return body("name", name, "signature", s.Signature)
	}
	const path = "sys/recovery/transcripts/"
	for what, c := range map[string]struct {
		path, body string
		code       int
	}{
		"another record's":  {path + "2", sign(first.Head(), "alice"), 400},
		"garbage":           {path + "2", body("name", "alice", "signature", "x"), 400},
		"no name":           {path + "2", body("signature", "x"), 400},
		"no such record":    {path + "9", sign(first.Head(), "alice"), 404},
		"not even a number": {path + "x", sign(first.Head(), "alice"), 404},
	} {
		w.expect(what, w.do("PUT", c.path, c.body), c.code, "")
	}
	w.policy("reader", `path "sys/recovery/transcripts/*" { capabilities = ["read"] }`)
	w.expect("without update", w.do("PUT", path+"2", sign(second.Head(), "alice"), "X-Vault-Token",
		w.grant("s.reader", time.Time{}, "reader")), 403, "")
	w.expect("a signature", w.do("PUT", path+"2", sign(second.Head(), "alice")), 200, "")
	w.expect("the same key again", w.do("PUT", path+"00000002-authorize-restore", sign(second.Head(), "alice b.")),
		200, "")
	var shown struct {
		Data struct {
			CoSignatures []chain.CoSignature `json:"co_signatures"`
		}
	}
	w.decode(w.do("GET", path+"2", ""), &shown)
	if all := shown.Data.CoSignatures; len(all) != 1 || all[0].Name != "alice b." || all[0].Kind != cosign.SSH {
		t.Fatalf("shown: %+v", all)
	}
	var export struct{ Data json.RawMessage }
	w.decode(w.do("GET", "sys/recovery/transcript", ""), &export)
	report, err := chain.VerifyFile(bytes.NewReader(export.Data), nil, nil)
	if err != nil || !report.OK() || len(report.CoSignatures) != 1 || len(report.Checked) != 1 {
		t.Fatalf("the export: %+v, %v", report, err)
	}
	head, ok := report.Genuine(2)
	print, err := cosign.Verify(head, report.CoSignatures[0])
	if !ok || err != nil || !strings.HasPrefix(print, "SHA256:") {
		t.Errorf("the exported signature: %q, %v", print, err)
	}
}
