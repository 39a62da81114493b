package cli

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
)

// deviceKey is a key as in an HSM.
func deviceKey(t *testing.T, seed string) (key ed25519.PrivateKey, line, fingerprint string) {
	t.Helper()
	key = ed25519.NewKeyFromSeed([]byte(seed + " of exactly 32 bytes here.")[:ed25519.SeedSize])
	line, fingerprint, err := cosign.PublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, line, fingerprint
}

// deviceChain is a transcript in which one key in a device signs from record 2 on, another from
// record 5 on, and none after record 6.
func deviceChain(t *testing.T) *transcript.File {
	t.Helper()
	_, _, one := deviceKey(t, "seed 1")
	_, _, two := deviceKey(t, "seed 2")
	at := time.Date(2026, 11, 22, 18, 0, 5, 0, time.UTC)
	f := &transcript.File{PublicKey: testKey().Public().(ed25519.PublicKey)}
	var head transcript.Head
	for _, c := range []struct {
		purpose string
		prints  []string
	}{
		{"act", nil}, {transcript.PurposeDeviceKey, []string{one}}, {"act", nil}, {"act", nil},
		{transcript.PurposeDeviceKey, []string{two}}, {transcript.PurposeDeviceKey, nil}, {"act", nil},
	} {
		r := transcript.Record{Purpose: c.purpose, Fingerprints: c.prints, Started: at, Finished: at,
			Outcome: transcript.Completed}
		s, next, err := transcript.Append(testKey(), head, r)
		if err != nil {
			t.Fatal(err)
		}
		head, f.Records = next, append(f.Records, s)
	}
	f.Head = transcript.Attest(testKey(), head, at)
	return f
}

// signDevice adds the signatures of a key in a device.
func signDevice(t *testing.T, f *transcript.File, seed, name string, records ...uint64) {
	t.Helper()
	key, _, _ := deviceKey(t, seed)
	for _, seq := range records {
		s, err := cosign.SignWith(f.Records[seq-1].Head(), name, key, f.Head.At)
		if err != nil {
			t.Fatal(err)
		}
		f.CoSignatures = append(f.CoSignatures, s)
	}
}

// TestTranscriptVerifyDevice: the chain says which key was to sign which records, and what lacks
// its signature is reported; with -require-device or a pinned key it fails.
func TestTranscriptVerifyDevice(t *testing.T) {
	const first, second = "device:pkcs11/notary", "device:pkcs11/second"
	_, one, _ := deviceKey(t, "seed 1")
	_, two, _ := deviceKey(t, "seed 2")
	public := "-public-key=" + base64.StdEncoding.EncodeToString(testKey().Public().(ed25519.PublicKey))
	verify := func(name string, want int, f *transcript.File, more ...string) run {
		raw, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return run{name: name, want: want, args: append([]string{"transcript", "verify", "HOME/t.json", public}, more...),
			files: map[string]string{"t.json": string(raw), "people": "alice " + strings.Repeat("ab", 20) + "\n",
				"signers": first + " " + one + "\n" + second + " " + two + "\n", "one": first + " " + one + "\n"}}
	}
	whole, lacking, foreign := deviceChain(t), deviceChain(t), deviceChain(t)
	signDevice(t, whole, "seed 1", first, 2, 3, 4, 5)
	signDevice(t, whole, "seed 2", second, 5, 6)
	signDevice(t, lacking, "seed 1", first, 2)
	signDevice(t, lacking, "seed 2", second, 5, 6)
	signDevice(t, foreign, "seed 1", first, 2, 3, 4, 5)
	signDevice(t, foreign, "seed 2", second, 5, 6)
	signDevice(t, foreign, "seed 1", first, 7)
	signDevice(t, foreign, "seed 3", first, 3)
	old := deviceChain(t)
	old.Records = old.Records[:1]
	old.Head = transcript.Attest(testKey(), old.Records[0].Head(), old.Head.At)
	runAll(t, []run{
		verify("verify-device", 0, whole, "-require-device"),
		verify("verify-device-pinned-json", 0, whole, "-signers=HOME/signers", "-format=json"),
		verify("verify-device-people", 0, whole, "-signers=HOME/people"),
		verify("verify-device-other-key", 2, whole, "-signers=HOME/one"),
		verify("verify-device-lacking", 0, lacking),
		verify("verify-device-lacking-required", 2, lacking, "-require-device"),
		verify("verify-device-lacking-pinned-json", 2, lacking, "-signers=HOME/signers", "-format=json"),
		verify("verify-device-foreign", 2, foreign),
		verify("verify-device-none", 0, old),
		verify("verify-device-none-required", 2, old, "-require-device"),
		verify("verify-device-none-pinned", 2, old, "-signers=HOME/one"),
	})
}

func TestTranscriptSigner(t *testing.T) {
	const path = "sys/config/transcript"
	shown := `{"managed_key":"pkcs11/notary","name":"device:pkcs11/notary","public_key":"ssh-ed25519 AAAA",` +
		`"fingerprint":"SHA256:abc","from_record":7,"unsigned":0,"first_unsigned":0,"failure":null}`
	behind := `{"managed_key":"pkcs11/notary","name":"device:pkcs11/notary","public_key":"ssh-ed25519 AAAA",` +
		`"fingerprint":"SHA256:abc","from_record":7,"unsigned":3,"first_unsigned":9,"failure":{"class":"unreachable",` +
		`"text":"the key pkcs11/notary is unavailable in its device","since":"2026-11-22T18:00:05Z"}}`
	none := `{"managed_key":"","name":"","public_key":"","fingerprint":"","from_record":0,"unsigned":0,` +
		`"first_unsigned":0,"failure":null}`
	answers := func(data string) map[string][]answer {
		return map[string][]answer{"GET " + path: {ok(inData(data))}, "PUT " + path: {ok(inData(data))},
			"DELETE " + path: {{204, ""}}}
	}
	args := func(more ...string) []string { return append([]string{"operator", "transcript", "signer"}, more...) }
	runAll(t, []run{
		{name: "transcript-signer", args: args(), answers: answers(shown)},
		{name: "transcript-signer-json", args: args("-format=json"), answers: answers(behind)},
		{name: "transcript-signer-behind", args: args(), answers: answers(behind)},
		{name: "transcript-signer-set", args: args("-managed-key=pkcs11/notary"), answers: answers(shown)},
		{name: "transcript-signer-remove", args: args("-remove"), answers: answers(none)},
		{name: "transcript-signer-both", want: 1, args: args("-remove", "-managed-key=a/b")},
		{name: "transcript-signer-refused", want: 2, args: args("-managed-key=pkcs11/none"),
			answers: map[string][]answer{"PUT " + path: {refusal(400, "no managed key is named")}}},
	})
}
