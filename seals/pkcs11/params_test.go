package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

func TestInvalidStanzas(t *testing.T) {
	t.Parallel()
	good := map[string]string{"lib": "/nowhere.so", "token_label": "t", "pin": "1234567", "key_label": "k"}
	for _, c := range []struct {
		name   string
		change map[string]string // "-" takes a parameter away
		want   string
	}{
		{"no library", map[string]string{"lib": "-"}, "lib is required"},
		{"no token", map[string]string{"token_label": "-"}, "token_label"},
		{"no key", map[string]string{"key_label": "-"}, "key_label or key_id is required"},
		{"misspelt", map[string]string{"key_lable": "k"}, `did you mean "key_label"?`},
		{"unknown", map[string]string{"quux_frobnicate": "k"}, "quux_frobnicate"},
		{"two names", map[string]string{"module": "/other.so"}, "module"},
		{"slot", map[string]string{"slot": "first"}, `slot = "first"`},
		{"key id", map[string]string{"key_id": "xyz"}, "hexadecimal"},
		{"PKCS #1 v1.5", map[string]string{"mechanism": "CKM_RSA_PKCS"}, "CKM_RSA_PKCS does not authenticate"},
		{"its number", map[string]string{"mechanism": "0x1"}, "CKM_RSA_PKCS does not authenticate"},
		{"CBC alone", map[string]string{"mechanism": "CKM_AES_CBC_PAD"}, "HMAC"},
		{"mechanism", map[string]string{"mechanism": "CKM_ROT13"}, "CKM_AES_GCM"},
		{"hash", map[string]string{"rsa_oaep_hash": "md5"}, "sha256"},
		{"HMAC", map[string]string{"hmac_mechanism": "CKM_AES_GCM"}, "HMAC"},
		{"boolean", map[string]string{"generate_key": "perhaps"}, "true or false"},
		{"sessions", map[string]string{"max_parallel": "-3"}, "max_parallel"},
		{"isolation", map[string]string{"isolation": "thread"}, "isolation"},
		{"network", map[string]string{"network": "off"}, "true or false"},
		{"network in process", map[string]string{"network": "false", "isolation": "none"}, "isolation"},
		{"relative path", map[string]string{"allow_paths": "/a,b"}, "absolute"},
		{"timeout", map[string]string{"timeout": "1h"}, "timeout"},
		{"PIN's variable", map[string]string{"pin": "env://NOT_SET"}, "NOT_SET"},
		{"PIN's file", map[string]string{"pin": "file:///no/such/file"}, "/no/such/file"},
		{"making a key without a label", map[string]string{"key_label": "-", "key_id": "01", "generate_key": "true"},
			"generate_key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := maps.Clone(good)
			for k, v := range c.change {
				if params[k] = v; v == "-" {
					delete(params, k)
				}
			}
			_, err := pkcs11.New(seals.Config{Name: "s", Type: "pkcs11", Params: params, Getenv: none})
			if err == nil || seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v; want Misconfigured with %s", err, c.want)
			}
			if strings.Contains(err.Error(), "1234567") {
				t.Error("the error shows the PIN")
			}
		})
	}
}

func TestEveryNameOfAParameter(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	pin := filepath.Join(t.TempDir(), "pin")
	must(t, os.WriteFile(pin, []byte(tok.PIN+"\n"), 0o644))
	for name, c := range map[string]struct{ params, env map[string]string }{
		"short names": {params: map[string]string{"module": tok.Lib, "token": tok.Label, "pin": tok.PIN,
			"label": "wrap"}},
		"environment alone": {env: map[string]string{
			"SEALGATE_HSM_LIB": tok.Lib, "BAO_HSM_TOKEN_LABEL": tok.Label, "VAULT_HSM_PIN": tok.PIN,
			"BAO_HSM_KEY_LABEL": "wrap",
		}},
		"environment wins, ours first": {
			params: map[string]string{"lib": "/x", "token_label": "x", "pin": "x", "key_label": "x",
				"mechanism": "CKM_AES_GCM"},
			env: map[string]string{
				"VAULT_HSM_LIB": "/y", "BAO_HSM_LIB": "/z", "SEALGATE_HSM_LIB": tok.Lib,
				"BAO_HSM_TOKEN_LABEL": tok.Label, "VAULT_HSM_TOKEN_LABEL": "y", "BAO_HSM_PIN": tok.PIN,
				"VAULT_HSM_KEY_LABEL": "wrap",
			}},
		"PIN from a file": {params: map[string]string{"lib": tok.Lib, "token_label": tok.Label,
			"pin": "file://" + pin, "key_label": "wrap"}},
		"PIN from a variable, and all that is ignored": {
			params: map[string]string{
				"lib": tok.Lib, "token_label": tok.Label, "pin": "env://MY_PIN", "key_label": "wrap",
				"max_parallel": "2", "timeout": "5",
				"purpose": "x", "priority": "1", "name": "n", "disabled": "false", "force_rw_session": "true",
				"default_key_label": "old",
			},
			env: map[string]string{"MY_PIN": tok.PIN}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w, err := pkcs11.New(seals.Config{
				Name: "s", Type: "pkcs11", Params: c.params, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Getenv: func(n string) string { return c.env[n] },
			})
			must(t, err)
			defer w.(*pkcs11.Wrapper).Close()
			blob, err := w.Encrypt(t.Context(), []byte("root"), wrapping.WithAad([]byte("a")))
			must(t, err)
			plain, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("a")))
			if err != nil || string(plain) != "root" {
				t.Fatalf("%q, %v", plain, err)
			}
			if warned := strings.Contains(log.String(), "chmod 600"); warned != (name == "PIN from a file") {
				t.Errorf("a warning about the PIN's file: %v\n%s", warned, log.String())
			}
			meta, err := w.SetConfig(t.Context())
			must(t, err)
			for k, v := range meta.Metadata {
				if strings.Contains(v, tok.PIN) {
					t.Errorf("the metadata's %s shows the PIN", k)
				}
			}
		})
	}
}

func TestFailuresNameARemedy(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	tok.Key(t, hsm.AES256, "twin")
	tok.Key(t, hsm.AES256, "twin")
	tok.Key(t, hsm.HMAC256, "mac")
	for _, c := range []struct {
		name   string
		params []string
		class  seals.Class
		final  bool
		text   string
	}{
		{"wrong PIN", []string{"key_label", "wrap", "pin", "99999999"}, seals.Denied, true, "not tried again"},
		{"no PIN", []string{"key_label", "wrap", "pin", ""}, seals.Misconfigured, false, "env://"},
		{"library", []string{"key_label", "wrap", "lib", "/no/lib.so"}, seals.Misconfigured, false,
			"/no/lib.so does not exist"},
		{"token", []string{"key_label", "wrap", "token_label", "nope"}, seals.KeyGone, false, tok.Label},
		{"key", []string{"key_label", "nope"}, seals.KeyGone, false, "nope"},
		{"ambiguous", []string{"key_label", "twin"}, seals.Misconfigured, false, "2 keys"},
		{"type", []string{"key_label", "mac"}, seals.Misconfigured, false, "generic secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := open(t, tok, c.params...)
			for range 2 {
				_, err := w.Encrypt(t.Context(), []byte("root"))
				var f *seals.Failure
				if !errors.As(err, &f) || f.Class != c.class || f.Final != c.final || f.Remedy == "" ||
					!strings.Contains(err.Error(), c.text) {
					t.Errorf("%v; want %s, final %t, with %q", err, c.class, c.final, c.text)
				}
				if err != nil && strings.Contains(err.Error(), "99999999") {
					t.Error("the error shows the PIN")
				}
			}
		})
	}
}

func TestGeneratesMissingKeysOnce(t *testing.T) {
	tok := softhsm.New(t)
	for _, params := range [][]string{
		{"key_label", "gcm", "generate_key", "true"},
		{"key_label", "cbc", "hmac_key_label", "cbc-mac", "mechanism", "AES_CBC_PAD", "generate_key", "true",
			"key_id", "0x0a:0b"},
	} {
		w := open(t, tok, params...)
		if _, err := w.KeyId(t.Context()); seals.ClassOf(err) != seals.KeyGone {
			t.Errorf("KeyId before the first encryption: %v, want KeyGone", err)
		}
		blob, err := w.Encrypt(t.Context(), []byte("root"))
		must(t, err)
		again := open(t, tok, params...)
		if plain, err := again.Decrypt(t.Context(), blob); err != nil || string(plain) != "root" {
			t.Errorf("%q, %v", plain, err)
		}
		id, err := again.KeyId(t.Context())
		if err != nil || id != blob.KeyInfo.KeyId {
			t.Errorf("KeyId %q, %v; the blob has %q", id, err, blob.KeyInfo.KeyId)
		}
		must(t, tok.Delete(params[1]))
		if _, err := again.Decrypt(t.Context(), blob); seals.ClassOf(err) != seals.KeyGone {
			t.Errorf("Decrypt without the key: %v, want KeyGone and no new key", err)
		}
	}
}

func TestPINState(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	w := open(t, tok, "key_label", "wrap")
	low, final, locked, err := w.PINState(context.Background())
	if err != nil || low || final || locked {
		t.Error(low, final, locked, err)
	}
	if limits, err := w.Limits(t.Context()); err != nil || len(limits) != 0 {
		t.Error(limits, err)
	}
	wrong := open(t, tok, "key_label", "wrap", "pin", "99999999")
	if _, err := wrong.KeyId(t.Context()); seals.ClassOf(err) != seals.Denied {
		t.Fatal(err)
	}
	limits, err := wrong.Limits(t.Context())
	if err != nil || len(limits) != 1 || limits[0].What != "PIN tries" || limits[0].Danger == "" {
		t.Error(limits, err)
	}
}

func TestDescribeReportsTheKeysProtection(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	w := open(t, tok, "key_label", "wrap", "require_nonextractable", "true")
	state, err := w.Describe(t.Context())
	if err != nil || state.Protection != "token, sensitive, not extractable, generated on the token" ||
		state.Detail["CKA_EXTRACTABLE"] != "false" || state.Detail["warning"] != "" {
		t.Errorf("%+v, %v", state, err)
	}
}

// TestGenerateKeyFindsOne: generate_key uses a key that is there, and says so with who made it.
func TestGenerateKeyFindsOne(t *testing.T) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	for label, found := range map[string]bool{"wrap": true, "missing": false} {
		var log bytes.Buffer
		w, err := pkcs11.New(seals.Config{Name: "test", Type: "pkcs11", Getenv: none, Params: map[string]string{
			"lib": tok.Lib, "token_label": tok.Label, "pin": tok.PIN, "key_label": label, "generate_key": "true",
		}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		seal := w.(*pkcs11.Wrapper)
		for range 2 {
			wrap(t, seal)
		}
		state, err := seal.Describe(t.Context())
		must(t, err)
		must(t, seal.Close())
		const words = "was generated on the token (CKA_LOCAL is true)"
		n := strings.Count(log.String(), "generate_key made no key: the seal uses the existing one, which "+words)
		if found && n != 1 || !found && n != 0 {
			t.Errorf("%s: the log says %d times that there is a key:\n%s", label, n, &log)
		}
		if !strings.Contains(state.Detail["generate_key"], words) {
			t.Errorf("%s: %+v", label, state)
		}
	}
}

func TestSHA1UnderFIPS(t *testing.T) {
	defer fips.Simulate()()
	_, err := pkcs11.New(seals.Config{Name: "s", Type: "pkcs11", Getenv: none, Params: map[string]string{
		"lib": "/x.so", "slot": "7", "key_label": "k", "rsa_oaep_hash": "sha1",
	}})
	if err == nil || !strings.Contains(err.Error(), `rsa_oaep_hash = "sha1"`) || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("%v; want a refusal that names the parameter and what to use", err)
	}
}
