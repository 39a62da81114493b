package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// signerShown is what `operator transcript signer -format=json` prints.
type signerShown struct {
	Name          string
	Fingerprint   string
	PublicKey     string `json:"public_key"`
	FromRecord    uint64 `json:"from_record"`
	Unsigned      int
	FirstUnsigned uint64 `json:"first_unsigned"`
	Failure       *struct{ Class, Text string }
}

// notaryHarness is a server with three recovery shares whose transcript is signed by a key that is
// made on a token.
type notaryHarness struct {
	*harness
	shares  []string
	signer  signerShown
	signers string // file
}

func newNotaryHarness(t *testing.T) *notaryHarness {
	t.Helper()
	token, err := softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := &notaryHarness{harness: newStaticHarness(t)}
	n.useToken(token)
	n.addConfig(fmt.Sprintf("\nkms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = %q\n}\n", token.Lib))
	n.mustStart()
	n.shares = n.runInit("-recovery-shares=3", "-recovery-threshold=2")
	n.rekey() // a record that the key does not sign
	n.must(204, "POST", "sys/managed-keys/pkcs11/notary", n.managed(map[string]any{"key_label": "notary",
		"mechanism": "0x1041", "curve": "P256", "usages": "sign,verify", "allow_generate_key": true}))
	n.runJSON(&n.signer, "", "operator", "transcript", "signer", "-managed-key=pkcs11/notary")
	n.signers = filepath.Join(t.TempDir(), "signers")
	if err := os.WriteFile(n.signers, []byte(n.signer.Name+" "+n.signer.PublicKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// rekey replaces the recovery shares, which leaves one record.
func (n *notaryHarness) rekey() {
	n.t.Helper()
	var st rekeyOutput
	n.runJSON(&st, "", "operator", "rekey", "-init", "-target=recovery", "-key-shares=3", "-key-threshold=2")
	n.known.add("a nonce", st.Nonce)
	for _, s := range n.shares[:2] {
		n.runJSON(&st, "", "operator", "rekey", "-target=recovery", "-nonce="+st.Nonce, s)
	}
	if !st.Complete || len(st.Keys) != 3 {
		n.t.Fatalf("rekey: complete=%v with %d keys", st.Complete, len(st.Keys))
	}
	n.shares = st.Keys
	for _, s := range st.Keys {
		n.known.addShare(s)
	}
}

func (n *notaryHarness) shown() (st signerShown) {
	n.t.Helper()
	n.runJSON(&st, "", "operator", "transcript", "signer")
	return st
}

func (n *notaryHarness) untilSigned() {
	n.t.Helper()
	within(n.t, "every record signed", func() bool { return n.shown().Unsigned == 0 })
}

// within waits for a condition, generously: the machine may be loaded.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// verified exports the transcript and verifies it, with the exit code that is expected.
func (n *notaryHarness) verified(code int, flags ...string) (file, report string) {
	n.t.Helper()
	file = filepath.Join(n.t.TempDir(), "t.json")
	n.run(0, "", "operator", "transcript", "export", file)
	report, _ = n.run(code, "", append([]string{"transcript", "verify", file}, flags...)...)
	return file, report
}

// TestTranscriptIsSignedInTheHSM: a key on the token signs each record from its choice on, as
// ssh-keygen and an auditor who pinned the key verify; while the token is unavailable ceremonies
// end, and what is missing is shown, also after a restart, and signed once it is back.
func TestTranscriptIsSignedInTheHSM(t *testing.T) {
	t.Parallel()
	n := newNotaryHarness(t)
	n.rekey()
	n.untilSigned()
	if st := n.signer; st.Name != "device:pkcs11/notary" || st.FromRecord != 2 ||
		!strings.HasPrefix(st.PublicKey, "ecdsa-sha2-nistp256 ") {
		t.Errorf("the signer is %+v", st)
	}
	file, report := n.verified(0, "-signers="+n.signers)
	saysAll(t, "transcript verify", report, "Success!", "Signed In Device", n.signer.Fingerprint, "from record 2 to 3")
	n.checkByOpenSSH(file, 3)
	n.keyStays()

	n.move(n.token.Away)
	n.rekey()
	within(t, "a failure", func() bool { return n.shown().Failure != nil })
	if st := n.shown(); st.Unsigned != 1 || st.FirstUnsigned != 4 || st.Failure.Class == "" ||
		strings.Contains(st.Failure.Text, n.token.Lib) {
		t.Errorf("without the token: %+v, %+v", st, st.Failure)
	}
	metrics := n.must(200, "GET", "sys/metrics?format=prometheus", nil)
	saysAll(t, "the metrics", string(metrics.Body), "sealgate_transcript_unsigned 1")
	_, report = n.verified(0)
	saysAll(t, "transcript verify", report, "not signed: record 4")
	n.verified(2, "-require-device")
	_, report = n.verified(2, "-signers="+n.signers)
	saysAll(t, "transcript verify -signers", report, "was to sign record 4, and did not")
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	n.mustStart()
	if st := n.shown(); st.Unsigned != 1 || st.Fingerprint != n.signer.Fingerprint {
		t.Errorf("after a restart: %+v", st)
	}
	n.move(n.token.Back)
	n.untilSigned()
	n.verified(0, "-signers="+n.signers)

	n.run(0, "", "operator", "transcript", "signer", "-remove")
	n.rekey()
	n.untilSigned()
	_, report = n.verified(0, "-signers="+n.signers, "-require-device")
	saysAll(t, "the end", report, "from record 2 to 5")
	n.must(204, "DELETE", "sys/managed-keys/pkcs11/notary", nil)
}

// checkByOpenSSH verifies the device's signature of a record without this program's code.
func (n *notaryHarness) checkByOpenSSH(file string, seq uint64) {
	n.t.Helper()
	testkit.Require(n.t, "ssh-keygen")
	raw, err := os.ReadFile(file)
	if err != nil {
		n.t.Fatal(err)
	}
	var f transcript.File
	if err := json.Unmarshal(raw, &f); err != nil {
		n.t.Fatal(err)
	}
	signature := filepath.Join(n.t.TempDir(), "sig")
	for _, s := range f.CoSignatures {
		if s.Seq == seq {
			err = os.WriteFile(signature, []byte(s.Signature), 0o600)
		}
	}
	if err != nil {
		n.t.Fatal(err)
	}
	statement, _ := n.run(0, "", "operator", "transcript", "sign", "-statement", fmt.Sprint(seq))
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh-keygen", "-Y", "verify", "-n", "sealgate-transcript", "-I", n.signer.Name, "-f",
		n.signers, "-s", signature)
	cmd.Stdin = strings.NewReader(statement)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(n.signer.Fingerprint)) {
		n.t.Errorf("ssh-keygen: %v\n%s", err, out)
	}
}

// keyStays: the key can be neither removed nor used by a mount, and a change of the setting needs
// sudo.
func (n *notaryHarness) keyStays() {
	n.t.Helper()
	reply := n.must(400, "DELETE", "sys/managed-keys/pkcs11/notary", nil)
	saysAll(n.t, "removing the key", reply.Errors(), "pkcs11/notary signs the transcript")
	n.must(204, "POST", "sys/mounts/transit", map[string]any{"type": "transit",
		"config": map[string]any{"allowed_managed_keys": "notary"}})
	reply = n.must(400, "POST", "transit/keys/k", map[string]any{"type": "managed_key", "managed_key_name": "notary"})
	saysAll(n.t, "a mount", reply.Errors(), "signs the transcript")
	_, errs := n.run(2, "", "operator", "transcript", "signer", "-managed-key=pkcs11/none")
	saysAll(n.t, "another key", errs, "no managed key is named")
	n.must(204, "PUT", "sys/policies/acl/weak", map[string]any{"policy": `path "sys/config/transcript" {
		capabilities = ["read", "update", "delete"] }`})
	var token struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	n.decode(n.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"weak"}}), &token)
	n.known.add("a token", token.Auth.ClientToken)
	root := n.root
	n.root = token.Auth.ClientToken
	n.must(200, "GET", "sys/config/transcript", nil)
	n.must(403, "PUT", "sys/config/transcript", map[string]any{"managed_key": "pkcs11/notary"})
	n.must(403, "DELETE", "sys/config/transcript", nil)
	n.root = root
}
