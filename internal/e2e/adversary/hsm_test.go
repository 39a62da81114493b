//go:build cgo && !windows

package adversary

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/hsm/softhsm"
)

// newToken makes a SoftHSM token and returns a seal stanza on it, to which more is added, and the
// variable that SoftHSM needs.
func newToken(t *testing.T) (seal func(more string) string, env string) {
	t.Helper()
	token, err := softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return func(more string) string {
		return fmt.Sprintf("seal \"pkcs11\" \"hsm\" {\n  lib = %q\n  token_label = %q\n  pin = %q\n  key_label = \"wrap\"\n"+
			"  generate_key = true\n%s}\n", token.Lib, token.Label, token.PIN, more)
	}, "SOFTHSM2_CONF=" + token.ConfigPath
}

// replaceData replaces the storage of a stopped server.
func (v *victim) replaceData(by string) {
	v.t.Helper()
	data := filepath.Join(v.Dir, "data")
	if err := os.RemoveAll(data); err != nil {
		v.t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(by)); err != nil {
		v.t.Fatal(err)
	}
}

// TestSubstitutedStoreUnderRSA: an attacker can write the storage and has the public half of the
// HSM's RSA key; goal: have the server open a store that he made, of which he holds root token and
// shares; outcome: refused where an HMAC key of the token authenticates the record.
func TestSubstitutedStoreUnderRSA(t *testing.T) {
	t.Parallel()
	seal, env := newToken(t)
	const rsa = "  timeout = \"60s\"\n" + // making the key takes seconds
		"  mechanism = \"CKM_RSA_PKCS_OAEP\"\n  rsa_oaep_hash = \"sha1\"\n"
	const authenticated = rsa + "  hmac_key_label = \"mac\"\n"
	v := newVictimUnder(t, seal(authenticated), "", env)
	v.stop()
	own := filepath.Join(v.Dir, "own")
	if err := os.CopyFS(own, os.DirFS(filepath.Join(v.Dir, "data"))); err != nil {
		t.Fatal(err)
	}
	// The attacker's server stands for a program that has the public half only: without the HMAC key
	// it makes exactly what that program can make.
	mallory := newVictimUnder(t, seal(rsa), "", env)
	mallory.stop()
	forged := filepath.Join(mallory.Dir, "data")

	v.replaceData(forged)
	v.start()
	v.staysShut("does not prove who made it")
	v.stop()

	v.replaceData(own)
	v.start()
	if err := v.UntilUnsealed(); err != nil {
		t.Fatalf("with its own storage: %v\n%s", err, v.Log())
	}
	v.stop()

	v.replaceData(forged)
	v.seal = seal(authenticated + "  accept_unauthenticated = true\n")
	v.configure("")
	v.start()
	if err := v.UntilUnsealed(); err != nil { // so the HMAC key alone stood between
		t.Fatalf("the attack without the HMAC key: %v\n%s", err, v.Log())
	}
	if !strings.Contains(v.Log(), "substitute the root key") {
		t.Errorf("no warning of accept_unauthenticated:\n%s", v.Log())
	}
}

// TestRolledBackStorageTokenAnchor: attacker: who puts back a copy of the whole storage and may
// change files of the node; goal: revive the recovery shares that were replaced since; outcome: the
// anchor on the token refuses, and names the deliberate way past it.
func TestRolledBackStorageTokenAnchor(t *testing.T) {
	t.Parallel()
	seal, env := newToken(t)
	v := newVictimUnder(t, seal(""), "anchor \"pkcs11\" {}\n", env)
	v.stop()
	kept := filepath.Join(v.Dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(v.Dir, "data"))); err != nil {
		t.Fatal(err)
	}
	v.start()
	if err := v.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	v.rekey()
	v.stop()

	v.replaceData(kept)
	v.start()
	v.staysShut("the storage was rolled back")
	_, rest, ok := strings.Cut(v.Log(), "-accept-rollback=")
	if !ok {
		t.Fatalf("the log does not name the way past the anchor:\n%s", v.Log())
	}
	accept := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(" \"'\n\\;", r) })[0]
	v.stop()
	if err := v.Start("-accept-rollback=" + accept); err != nil {
		t.Fatal(err)
	}
	if err := v.UntilUnsealed(); err != nil {
		t.Fatalf("%v\n%s", err, v.Log())
	}
	v.stop()
	v.start() // the anchor follows what was accepted
	if err := v.UntilUnsealed(); err != nil {
		t.Fatalf("%v\n%s", err, v.Log())
	}
	v.stop()

	// The token's user may delete the object, as root may delete the file: then the node starts, and
	// makes a new one.
	out, err := v.pkcs11tool(env, "--delete-object", "--type", "data", "--label", "sealgate-anchor")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v.start()
	if err := v.UntilUnsealed(); err != nil {
		t.Fatalf("%v\n%s", err, v.Log())
	}
	v.stop()
	if out, err = v.pkcs11tool(env, "--list-objects", "--type", "data"); err != nil ||
		strings.Count(out, "sealgate-anchor") != 1 || !strings.Contains(out, "private") {
		t.Errorf("the objects of the token: %v: %s", err, out)
	}
}

// pkcs11tool runs OpenSC's program with the token of the seal.
func (v *victim) pkcs11tool(env string, args ...string) (string, error) {
	v.t.Helper()
	value := func(name string) string {
		_, rest, _ := strings.Cut(v.seal, name+" = \"")
		text, _, _ := strings.Cut(rest, "\"")
		return text
	}
	cmd := exec.Command("pkcs11-tool", append([]string{"--module", value("lib"), "--login", "--pin", value("pin"),
		"--token-label", value("token_label")}, args...)...)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
