package static

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

const (
	hexA = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
	hexB = "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
)

func stanza(pairs ...string) seals.Config {
	c := seals.Config{Name: "s", Type: "static", Params: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		c.Params[pairs[i]] = pairs[i+1]
	}
	return c
}

func mustNew(t *testing.T, c seals.Config) *Wrapper {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w.(*Wrapper)
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
		w := mustNew(t, stanza("current_key", hexA, "current_key_id", "2026-a"))
		return &sealtest.Fixture{
			Wrapper: w,
			Other:   mustNew(t, stanza("current_key", hexB, "current_key_id", "2026-b")),
			Again: func() wrapping.Wrapper {
				return mustNew(t, stanza("current_key", hexA, "current_key_id", "2026-a"))
			},
			Rotate: func() {
				_, err := w.SetConfig(t.Context(), wrapping.WithConfigMap(map[string]string{
					"current_key": hexB, "current_key_id": "2026-b", "previous_key": hexA, "previous_key_id": "2026-a",
				}))
				if err != nil {
					t.Fatal(err)
				}
			},
		}
	}, Without: sealtest.Unless("the key is in the configuration: no peer, no key state",
		"Other", "Again", "Rotate")})
}

func TestKeyInEveryForm(t *testing.T) {
	t.Parallel()
	raw, _ := hex.DecodeString(hexA)
	withNewline := append(raw[:31:31], '\n') // a key whose last byte is a newline
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	std := base64.StdEncoding.EncodeToString(raw)
	for name, form := range map[string]struct {
		value string
		key   []byte
	}{
		"raw":                       {string(raw), raw},
		"hexadecimal":               {hexA, raw},
		"hexadecimal in capitals":   {strings.ToUpper(hexA), raw},
		"base64":                    {std, raw},
		"base64url without padding": {base64.RawURLEncoding.EncodeToString(raw), raw},
		"raw in a file":             {file("raw", raw), raw},
		"raw, ends with a newline":  {file("newline", withNewline), withNewline},
		"base64 in a file":          {file("base64", []byte(std+"\n")), raw},
		"variable":                  {"env://KEY_OF_TEST", raw},
	} {
		c := stanza("current_key", form.value, "current_key_id", "k")
		c.Getenv = getenv(map[string]string{"KEY_OF_TEST": hexA})
		w := mustNew(t, c)
		blob, err := w.Encrypt(t.Context(), []byte("plain"))
		if err != nil {
			t.Fatal(err)
		}
		plain := mustNew(t, stanza("current_key", hex.EncodeToString(form.key), "current_key_id", "k"))
		if got, err := plain.Decrypt(t.Context(), blob); err != nil || string(got) != "plain" {
			t.Errorf("%s: another key was read: %v", name, err)
		}
	}
}

func getenv(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func TestEnvironmentTakesPrecedence(t *testing.T) {
	t.Parallel()
	env := map[string]string{}
	c := stanza("current_key", hexA, "current_key_id", "stanza")
	c.Getenv = getenv(env)
	expect := func(want string) {
		t.Helper()
		if id, err := mustNew(t, c).KeyId(t.Context()); err != nil || id != want {
			t.Errorf("KeyId is %q, %v; want %q", id, err, want)
		}
	}
	expect("stanza")
	env["BAO_STATIC_SEAL_CURRENT_KEY_ID"] = "bao"
	expect("bao")
	env["SEALGATE_STATIC_SEAL_CURRENT_KEY_ID"] = "sealgate"
	expect("sealgate")
	c.Params = nil
	env["SEALGATE_STATIC_SEAL_CURRENT_KEY"] = hexB
	expect("sealgate")
}

func TestPreviousKeyStillUnwraps(t *testing.T) {
	t.Parallel()
	old := mustNew(t, stanza("current_key", hexA, "current_key_id", "a"))
	blob, err := old.Encrypt(t.Context(), []byte("plain"), wrapping.WithAad([]byte("aad")))
	if err != nil {
		t.Fatal(err)
	}
	both := mustNew(t, stanza("current_key", hexB, "current_key_id", "b", "previous_key", hexA, "previous_key_id", "a"))
	if got, err := both.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("aad"))); err != nil ||
		string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	alone := mustNew(t, stanza("current_key", hexB, "current_key_id", "b"))
	_, err = alone.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("aad")))
	if seals.ClassOf(err) != seals.WrongKey || !strings.Contains(err.Error(), `previous_key_id = "a"`) {
		t.Errorf("without the previous key: %v", err)
	}
	mixed := mustNew(t, stanza("current_key", hexB, "current_key_id", "a"))
	if _, err := mixed.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("aad"))); seals.ClassOf(
		err,
	) != seals.Corrupt {
		t.Errorf("another key under the same id: %v", err)
	}
}

func TestInvalidStanza(t *testing.T) {
	t.Parallel()
	type params = map[string]string
	good := map[string]string{"current_key": hexA, "current_key_id": "a"}
	for name, bad := range map[string]struct {
		change params
		want   string
	}{
		"nothing":                {params{"current_key": "", "current_key_id": ""}, "current_key is required"},
		"no id":                  {params{"current_key_id": ""}, "current_key requires current_key_id"},
		"no key":                 {params{"current_key": ""}, "current_key requires current_key_id"},
		"previous without id":    {params{"previous_key": hexB}, "previous_key requires previous_key_id"},
		"one id twice":           {params{"previous_key": hexB, "previous_key_id": "a"}, `both keys have the id "a"`},
		"short":                  {params{"current_key": hexA[:62]}, "this one has 62 characters"},
		"not hexadecimal":        {params{"current_key": "x" + hexA[1:]}, "an invalid character"},
		"not base64":             {params{"current_key": strings.Repeat("!", 44)}, "an invalid character"},
		"base64 of 33 bytes":     {params{"current_key": strings.Repeat("A", 44)}, "an invalid character"},
		"misspelled":             {params{"curent_key": hexB}, `did you mean "current_key"?`},
		"of another seal":        {params{"kms_region": "x"}, `no parameter "kms_region"`},
		"variable not set":       {params{"current_key": "env://NOT_SET_IN_TEST"}, "NOT_SET_IN_TEST is not set"},
		"file missing":           {params{"current_key": "file:///nonexistent/key"}, "/nonexistent/key"},
		"id too long":            {params{"current_key_id": strings.Repeat("k", 256)}, "longer than 255 bytes"},
		"newline in a short key": {params{"current_key": "file:///dev/null"}, "file:///dev/null is empty"},
	} {
		c := seals.Config{Name: "s", Type: "static", Params: maps.Clone(good)}
		maps.Copy(c.Params, bad.change)
		_, err := New(c)
		if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v; want %q", name, err, bad.want)
		}
		if err != nil && (strings.Contains(err.Error(), hexA[:60]) || strings.Contains(err.Error(), hexB)) {
			t.Errorf("%s: the error shows a key", name)
		}
	}
}

func TestSetConfigKeepsTheKeysOnError(t *testing.T) {
	t.Parallel()
	c := stanza("current_key", hexA, "current_key_id", "a")
	c.Getenv = getenv(map[string]string{"BAO_STATIC_SEAL_CURRENT_KEY_ID": "env"})
	w := mustNew(t, c)
	_, err := w.SetConfig(t.Context(), wrapping.WithConfigMap(map[string]string{"current_key": "short"}))
	if !errors.Is(err, ErrKey) {
		t.Errorf("a bad key: %v", err)
	}
	info, err := w.SetConfig(t.Context())
	if err != nil || info.Metadata["current_key_id"] != "env" {
		t.Errorf("after the error: %v, %v", info, err)
	}
	info, err = w.SetConfig(t.Context(), wrapping.WithDisallowEnvVars(true),
		wrapping.WithConfigMap(map[string]string{"current_key": hexB, "current_key_id": "b"}))
	if err != nil || info.Metadata["current_key_id"] != "b" {
		t.Errorf("without the environment: %v, %v", info, err)
	}
}

// TestGoldenBlobs pins the format: every blob ever written must decrypt.
func TestGoldenBlobs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "testdata", "seals", "static-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, Key, KeyID, AAD, Plain, Ciphertext, Class string }
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		sealed, err := hex.DecodeString(v.Ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		w := mustNew(t, stanza("current_key", v.Key, "current_key_id", "golden"))
		blob := &wrapping.BlobInfo{Ciphertext: sealed, KeyInfo: &wrapping.KeyInfo{KeyId: v.KeyID}}
		got, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte(v.AAD)))
		if string(seals.ClassOf(err)) != v.Class || string(got) != v.Plain {
			t.Errorf("%s: %q, %v; want %q and class %q", v.Name, got, err, v.Plain, v.Class)
		}
	}
}

// FuzzDecrypt: every blob gives an error or the wrapped plaintext, never a panic.
func FuzzDecrypt(f *testing.F) {
	made, err := New(stanza("current_key", hexA, "current_key_id", "a"))
	if err != nil {
		f.Fatal(err)
	}
	blob, err := made.Encrypt(f.Context(), []byte("plain"), wrapping.WithAad([]byte("aad")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob.Ciphertext, "a", []byte("aad"))
	f.Add([]byte{}, "", []byte{})
	f.Add([]byte{blobVersion}, "a", []byte("aad"))
	f.Fuzz(func(t *testing.T, sealed []byte, id string, aad []byte) {
		bad := &wrapping.BlobInfo{Ciphertext: sealed, KeyInfo: &wrapping.KeyInfo{KeyId: id}}
		got, err := made.Decrypt(t.Context(), bad, wrapping.WithAad(aad))
		if err == nil && (string(got) != "plain" || string(aad) != "aad") {
			t.Fatal("a blob that was never created was decrypted")
		}
		if class := seals.ClassOf(err); err != nil && class != seals.Corrupt && class != seals.WrongKey {
			t.Fatalf("class %q: %v", class, err)
		}
	})
}

// FuzzParseKey: a key of 32 bytes or an error that does not show it.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{
		hexA, strings.Repeat("A", 43), strings.Repeat("A", 43) + "=", strings.Repeat("k", 32), "", hexA + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		k, err := parseKey(value)
		switch {
		case err == nil && k.Len() != keyLen:
			t.Fatalf("a key of %d bytes", k.Len())
		case err != nil && (k != nil || !errors.Is(err, ErrKey)):
			t.Fatalf("%v", err)
		}
	})
}
