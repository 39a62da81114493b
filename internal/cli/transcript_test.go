package cli

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// testKey signs the transcripts of the tests.
func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("a seed of exactly 32 bytes here."))
}

// chain is a transcript of two ceremonies, as a file and as records.
func chain(t *testing.T) (file string, records []string) {
	t.Helper()
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 18, minute, 5, 0, time.UTC) }
	f := transcript.File{PublicKey: testKey().Public().(ed25519.PublicKey)}
	var head transcript.Head
	for _, r := range []transcript.Record{
		{Cluster: "vault-cluster-0a1b2c3d", Purpose: "rekey-recovery", Nonce: theNonce, Started: at(1), StartedBy: "root",
			StartedAccessor: "acc0",
			Required:        2, Shares: 3, Threshold: 2, Verification: true, Holders: []string{"dora", "emil", "fay"},
			Fingerprints: []string{"e9286d"},
			Given:        []transcript.Share{{Number: 1, Name: "alice", At: at(2)}, {Number: 3, At: at(3)}},
			Proven:       []transcript.Share{{Number: 2, Name: "emil", At: at(4)}},
			Outcome:      transcript.Completed, Finished: at(5), GenerationBefore: 1, GenerationAfter: 2},
		{Cluster: "vault-cluster-0a1b2c3d", Purpose: "generate-root", Nonce: theNonce, Started: at(6), Required: 2,
			Outcome: transcript.Cancelled, Reason: "not needed", Finished: at(7), EndedBy: "root", EndedAccessor: "acc0",
			GenerationBefore: 2, GenerationAfter: 2},
	} {
		s, next, err := transcript.Append(testKey(), head, r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		head, f.Records, records = next, append(f.Records, s), append(records, string(raw))
	}
	f.Head = transcript.Attest(testKey(), head, at(9))
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), records
}

func TestTranscript(t *testing.T) {
	_, records := chain(t)
	const key = "00000001-rekey-recovery"
	keys := map[string][]answer{
		"GET sys/recovery/transcripts": {
			ok(inData(`{"keys":["` + key + `","00000002-generate-root"]}`))},
		"GET sys/recovery/transcripts/" + key:                 {ok(inData(`{"record":` + records[0] + `}`))},
		"GET sys/recovery/transcripts/00000002-generate-root": {ok(inData(`{"record":` + records[1] + `}`))}}
	args := func(more ...string) []string { return append([]string{"operator", "transcript"}, more...) }
	runAll(t, []run{
		{name: "transcript-list", args: args("list"), answers: keys},
		{name: "transcript-list-json", args: args("list", "-format=json"), answers: keys},
		{name: "transcript-list-empty", args: args("list"), want: 2,
			answers: map[string][]answer{"GET sys/recovery/transcripts": {{204, ""}}}},
		{name: "transcript-list-denied", args: args("list"), want: 2,
			answers: map[string][]answer{"GET sys/recovery/transcripts": {refusal(403, "permission denied")}}},
		{name: "transcript-show", args: args("show", key), answers: keys},
		{name: "transcript-show-number", args: args("show", "2"), answers: keys},
		{name: "transcript-show-json", args: args("show", key, "-format=json"), answers: keys},
		{name: "transcript-show-yaml", args: args("show", "2", "-format=yaml"), answers: keys},
		{name: "transcript-show-none", args: args("show", "3"), want: 2, answers: keys},
		{name: "transcript-show-strange", args: args("show", "x"), want: 2,
			answers: map[string][]answer{"GET sys/recovery/transcripts/x": {ok(inData(`{"record":{}}`))}}},
		{name: "transcript-group", args: args(), want: 1},
	})
}

func TestTranscriptExport(t *testing.T) {
	file, _ := chain(t)
	script := map[string][]answer{"GET sys/recovery/transcript": {ok(inData(file))}}
	runAll(t, []run{
		{name: "transcript-export-file", args: []string{"operator", "transcript", "export", "HOME/export.json"},
			answers: script},
		{name: "transcript-export-exists", args: []string{"operator", "transcript", "export", "HOME/export.json"}, want: 1,
			files: map[string]string{"export.json": "earlier"}, answers: script},
		{name: "transcript-export-unread", args: []string{"operator", "transcript", "export"}, unread: true, want: 1,
			answers: script},
	})
}

// TestTranscriptExportVerifies passes the output of export to verify.
func TestTranscriptExportVerifies(t *testing.T) {
	t.Parallel()
	file, _ := chain(t)
	b := newBase(Env{})
	var out, errs bytes.Buffer
	b.env.Stdout, b.env.Stderr = &out, &errs
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(file), "", "  "); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "export.json")
	if err := writeNew(b, name, indented.Bytes()); err != nil {
		t.Fatal(err)
	}
	if code := verifyTranscript(b, name, &transcriptFlags{}); code != exitOK {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
	if err := writeNew(b, name, nil); !os.IsExist(err) {
		t.Errorf("it is written over: %v", err)
	}
}

func TestTranscriptVerify(t *testing.T) {
	file, records := chain(t)
	public := base64.StdEncoding.EncodeToString(testKey().Public().(ed25519.PublicKey))
	other := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, ed25519.PublicKeySize))
	var last transcript.Signed
	if err := last.UnmarshalJSON([]byte(records[1])); err != nil {
		t.Fatal(err)
	}
	head := last.Head().String()
	verify := func(text string, more ...string) run {
		return run{args: append([]string{"transcript", "verify", "HOME/t.json"}, more...),
			files: map[string]string{"t.json": text, "key": public + "\n"}}
	}
	named := func(name string, want int, r run) run {
		r.name, r.want = name, want
		return r
	}
	cut := strings.Replace(file, ","+records[1], "", 1)
	without := func(file string) string { return regexp.MustCompile(`"head":\{.*?\},`).ReplaceAllString(file, "") }
	runAll(t, []run{
		named("verify-genuine", 0, verify(file, "-public-key="+public)),
		named("verify-genuine-own-key", 0, verify(file)),
		named("verify-genuine-key-file", 0, verify(file, "-public-key=@HOME/key", "-head="+head, "-format=json")),
		named("verify-stdin", 0, run{args: []string{"transcript", "verify", "-"}, stdin: file}),
		named("verify-holder-altered", 2, verify(strings.Replace(file, `"alice"`, `"mallory"`, 1), "-public-key="+public)),
		named("verify-holder-altered-json", 2,
			verify(strings.Replace(file, `"alice"`, `"mallory"`, 1), "-public-key="+public, "-format=json")),
		named("verify-first-missing", 2, verify(strings.Replace(file, records[0]+",", "", 1), "-public-key="+public)),
		named("verify-last-cut-off", 2, verify(cut)),
		named("verify-last-and-head-cut-off", 2, verify(without(cut), "-head="+head)),
		named("verify-head-cut-off", 0, verify(without(file))),
		named("verify-head-altered", 2, verify(strings.Replace(file, "18:09:05", "18:10:05", 1))),
		named("verify-other-key", 2, verify(file, "-public-key="+other)),
		named("verify-not-json", 1, verify("garbage")),
		named("verify-no-file", 1, run{args: []string{"transcript", "verify", "HOME/none"}}),
		named("verify-key-wrong", 1, verify(file, "-public-key=abc")),
		named("verify-head-wrong", 1, verify(file, "-head=abc")),
		named("verify-no-argument", 1, run{args: []string{"transcript", "verify"}}),
	})
}

// sshTestKey is the private key of a holder.
func sshTestKey(t *testing.T) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(ed25519.NewKeyFromSeed([]byte("another seed of just 32 bytes...")), "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// coSign returns a holder's signature of a record.
func coSign(t *testing.T, record, name string) transcript.CoSignature {
	t.Helper()
	var s transcript.Signed
	if err := s.UnmarshalJSON([]byte(record)); err != nil {
		t.Fatal(err)
	}
	signed, err := cosign.Sign(s.Head(), name, []byte(sshTestKey(t)), nil, time.Date(2026, 11, 22, 18, 8, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestTranscriptSign(t *testing.T) {
	_, records := chain(t)
	const key = "00000002-generate-root"
	signature := coSign(t, records[1], "alice")
	raw, err := json.Marshal(signature)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string][]answer{
		"GET sys/recovery/transcripts": {ok(inData(`{"keys":["00000001-rekey-recovery","` + key + `"]}`))},
		"GET sys/recovery/transcripts/" + key: {
			ok(inData(`{"record":` + records[1] + `,"co_signatures":[` + string(raw) + `]}`))},
		"PUT sys/recovery/transcripts/" + key: {ok(inData(`{"fingerprint":"SHA256:abc"}`))},
	}
	sign := func(name string, want int, more ...string) run {
		return run{name: name, want: want, answers: answers, secret: "OPENSSH PRIVATE KEY",
			args: append([]string{"operator", "transcript", "sign"}, more...), files: map[string]string{
				"key": sshTestKey(t), "age": "AGE-SECRET-KEY-1QQQQ", "sig": signature.Signature,
				"other": coSign(t, records[0], "alice").Signature}}
	}
	runAll(t, []run{
		sign("transcript-sign", 0, "-name=alice", "-key=HOME/key", "2"),
		sign("transcript-sign-json", 0, "-name=alice", "-key=HOME/key", key, "-format=json"),
		sign("transcript-sign-statement", 0, "-statement", "2"),
		sign("transcript-sign-signature", 0, "-name=alice", "-signature=HOME/sig", "2"),
		sign("transcript-sign-other-record", 1, "-name=alice", "-signature=HOME/other", "2"),
		sign("transcript-sign-age", 1, "-name=alice", "-key=HOME/age", "2"),
		sign("transcript-sign-no-name", 1, "-key=HOME/key", "2"),
		sign("transcript-sign-nothing", 1, "-name=alice", "2"),
		{name: "transcript-show-co-signed", args: []string{"operator", "transcript", "show", key}, answers: answers},
	})
}

func TestTranscriptVerifyCoSignatures(t *testing.T) {
	file, records := chain(t)
	with := func(all ...transcript.CoSignature) string {
		raw, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(file, "}") + `,"co_signatures":` + string(raw) + "}"
	}
	alice, bob := coSign(t, records[1], "alice"), coSign(t, records[1], "bob")
	moved, absent := alice, alice
	moved.Seq, absent.Seq = 1, 9
	public := "-public-key=" + base64.StdEncoding.EncodeToString(testKey().Public().(ed25519.PublicKey))
	verify := func(name string, want int, text string, more ...string) run {
		return run{name: name, want: want, files: map[string]string{"t.json": text,
			"signers": "alice " + alice.PublicKey + "\n", "strangers": "carol " + strings.Repeat("ab", 20) + "\n"},
			args: append([]string{"transcript", "verify", "HOME/t.json", public}, more...)}
	}
	runAll(t, []run{
		verify("verify-co-signed", 0, with(alice)),
		verify("verify-co-signed-known-json", 0, with(alice), "-signers=HOME/signers", "-format=json"),
		verify("verify-co-signed-known", 0, with(alice), "-signers=HOME/signers"),
		verify("verify-co-signed-by-another-name", 2, with(bob), "-signers=HOME/signers"),
		verify("verify-co-signed-by-a-stranger", 2, with(alice), "-signers=HOME/strangers"),
		verify("verify-co-signature-moved", 2, with(moved, absent)),
		verify("verify-co-signed-no-signers", 1, with(alice), "-signers=HOME/none"),
	})
}
