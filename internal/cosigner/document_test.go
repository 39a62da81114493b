package cosigner

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/recovery/transcript"
)

var update = flag.Bool("update", false, "write the golden file that is missing")

func exampleDocument(t testing.TB) []byte {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(document{Version: settingVersion, Keys: []*signer{
		{Key: "pkcs11/notary", Type: "ed25519", Reference: []byte{1, 1}, Public: public, From: 7,
			Hash: transcript.Hash{1, 2, 3}, Until: 9},
		{Key: "awskms/notary", Type: "ed25519", Reference: []byte{1, 2}, Public: public, From: 9,
			Hash: transcript.Hash{4, 5, 6}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSettingIsStable holds the setting against its golden vector, and reads it back.
func TestSettingIsStable(t *testing.T) {
	t.Parallel()
	raw := exampleDocument(t)
	path := filepath.Join("..", "..", "testdata", "recovery", "transcript-signer-v1.json")
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		want, err = raw, os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, want) {
		t.Errorf("the setting is %s, not %s", raw, want)
	}
	d, err := parseDocument(want)
	if err != nil || len(d.Keys) != 2 || d.current() != d.Keys[1] || d.current().fingerprint == "" {
		t.Fatalf("read back: %+v, %v", d, err)
	}
	d.end(12)
	if d.current() != nil || d.Keys[1].Until != 12 {
		t.Errorf("after the end: %+v", d.Keys[1])
	}
	for range 2 * maxEnded {
		d.Keys = append(d.Keys, &signer{Key: "a/b"})
		d.end(13)
	}
	if len(d.Keys) != maxEnded {
		t.Errorf("%d keys are kept", len(d.Keys))
	}
	for what, bad := range map[string]string{"another version": `{"v":2}`, "nothing": "",
		"no key":           `{"v":1,"keys":[null]}`,
		"a key of no type": `{"v":1,"keys":[{"public_key":"AAAA"}]}`} {
		if _, err := parseDocument([]byte(bad)); err == nil {
			t.Errorf("%s is read", what)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add(exampleDocument(f))
	f.Add([]byte(`{"v":1,"keys":[null]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parseDocument(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseDocument(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, err := json.Marshal(back); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%s is read back as %s, %v", again, third, err)
		}
	})
}
