package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// TestBreakGlassOverHTTP is the story of an operator and his custodians, by the command line: they
// enrol, the HSM's key is lost, their shares unseal the server while a stranger floods it, a new
// seal takes the place of the lost one, and the transcript has it all. No share is in a log, an
// answer or the audit trail.
func TestBreakGlassOverHTTP(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	trail := filepath.Join(t.TempDir(), "audit.log")
	r.addConfig("unsafe_allow_api_audit_creation = true\n")
	r.mustStart()
	shares := r.mustInit()
	for _, s := range shares {
		r.known.addShare(s)
	}
	r.must(204, "PUT", "sys/audit/main", map[string]any{"type": "file", "options": map[string]any{"file_path": trail}})
	r.mustPut("a", "1")
	cli := func(want int, stdin string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := r.CLI(ctx, r.root, stdin, args...)
		if err != nil || res.Code != want {
			t.Fatalf("%q: %v, exit code %d, want %d\n%s%s", args, err, res.Code, want, res.Out, res.Err)
		}
		return res.Out + res.Err
	}
	says := func(text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	three := strings.Join(shares[:3], "\n") + "\n"

	says(cli(0, "", "operator", "forecast"), "does not survive the loss of every seal")
	cli(0, "", "operator", "break-glass", "enroll", "-init")
	says(cli(0, three, "operator", "break-glass", "enroll", "-nonce="+r.enrolNonce(), "-"), "Enrolled")
	says(cli(0, "", "operator", "forecast"), "survives the loss of every seal: 3 of 5 recovery shares open it")
	says(cli(0, "", "operator", "seals", "list"), "survives the loss of every seal: 3 of 5")
	r.must(204, "PUT", "sys/rotate/root", nil)
	r.must(204, "PUT", "sys/rotate", nil)
	r.mustPut("b", "2")
	last := filepath.Join(t.TempDir(), "last.snap")
	cli(0, "", "operator", "snapshot", "save", last)
	inspected := strings.Join(strings.Fields(cli(0, "", "operator", "snapshot", "inspect", last)), " ")
	says(inspected, "Break-Glass 3 of 5 shares, generation 1")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	resealedByShares(t, r, last, three)

	// The key is lost. Until the configuration allows it, the shares do nothing.
	config, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	lost := strings.NewReplacer("key_label = \"root\"\n  generate_key = true",
		"key_label = \"lost\"").Replace(string(config))
	if err := r.WriteConfig(lost); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	says(string(r.must(403, "PUT", "sys/break-glass", map[string]string{"key": shares[0]}).Body), "break_glass = true")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig("break_glass = true\n" + lost + staticSeal); err != nil {
		t.Fatal(err)
	}
	says(cli(2, "", "doctor", "-config=sealgate.hcl"), "survives the loss of every seal: 3 of 5 recovery shares")
	r.mustStart()
	r.untilSealsFail()
	says(strings.Join(r.status().Warnings, "\n"), "3 of 5 recovery shares can unseal this server")

	// A stranger floods it from another address, and ends nothing.
	says(cli(0, shares[0]+"\n", "operator", "break-glass", "-"), "1/3")
	flooded := false
	for range 400 {
		reply := r.call("PUT", "sys/break-glass", map[string]any{"key": strings.Repeat("ab", 33), "reset": true})
		if flooded = reply.Code == 429; flooded {
			break
		}
		if reply.Code != 400 {
			t.Fatalf("a wrong share: %d %s", reply.Code, reply.Body)
		}
	}
	if !flooded {
		t.Error("wrong shares are not limited")
	}
	says(cli(0, "", "operator", "break-glass", "status"), "1/3")
	says(cli(0, strings.Join(shares[1:3], "\n")+"\n", "operator", "break-glass", "-"), "Unsealed By Break-Glass")
	r.mustGet("a", "1")
	r.mustGet("b", "2")
	says(strings.Join(r.status().Warnings, "\n"), "unsealed by break-glass")

	// The static seal takes the place of the lost one.
	says(cli(2, "", "operator", "seals", "add", "box", "-replaces=hsm"), "-purpose=seals -init")
	var st struct{ Nonce string }
	change := map[string]string{"change": "replace hsm with box"}
	r.decode(r.must(200, "PUT", "sys/authorize/seals/attempt", change), &st)
	for _, s := range shares[2:] {
		r.must(200, "PUT", "sys/authorize/seals/update", map[string]string{"key": s, "nonce": st.Nonce})
	}
	says(cli(0, "", "operator", "seals", "add", "box", "-replaces=hsm"), "any of box")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig(sealStanza.ReplaceAllString(string(config), "") + staticSeal); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.mustGet("b", "2")
	if warnings := strings.Join(r.status().Warnings, "\n"); strings.Contains(warnings, "break-glass") {
		t.Errorf("it still warns: %s", warnings)
	}

	var out struct{ Data json.RawMessage }
	r.decode(r.must(200, "GET", "sys/recovery/transcript", nil), &out)
	report, err := transcript.VerifyFile(bytes.NewReader(out.Data), nil, nil)
	if err != nil || !report.OK() {
		t.Fatalf("the transcript: %v, %+v", err, report)
	}
	for _, want := range []string{`"break-glass-enroll"`, `"break-glass"`, `key not found on the token`} {
		says(string(out.Data), want)
	}
	entries, err := os.ReadFile(trail)
	if err != nil {
		t.Fatal(err)
	}
	says(string(entries), "sys/break-glass/enroll/update")
	for _, s := range shares {
		if bytes.Contains(entries, []byte(s)) {
			t.Error("the audit trail has a share")
		}
	}
}

// enrolNonce returns the nonce of the enrolment that runs.
func (r *harness) enrolNonce() string {
	r.t.Helper()
	var st struct{ Nonce string }
	r.decode(r.must(200, "GET", "sys/break-glass/enroll/attempt", nil), &st)
	return st.Nonce
}

// untilSealsFail waits until a sealed server has tried its seals.
func (r *harness) untilSealsFail() {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(strings.Join(r.status().Warnings, "\n"), "not unsealed") {
			return
		}
	}
	r.t.Fatalf("the seals do not fail: %+v", r.status())
}

// resealedByShares: without the HSM, recovery shares that are enrolled seal a snapshot to the seal
// of another server, which it then fills.
func resealedByShares(t *testing.T, r *harness, file, shares string) {
	t.Helper()
	other := newStaticHarness(t)
	moved := filepath.Join(t.TempDir(), "moved.snap")
	other.run(1, "", "operator", "snapshot", "reseal", "-to=sealgate.hcl", file, moved)
	other.run(2, shares[:strings.Index(shares, "\n")], "operator", "snapshot", "reseal", "-to=sealgate.hcl", "-shares=-",
		file, moved)
	other.run(0, shares, "operator", "snapshot", "reseal", "-to=sealgate.hcl", "-shares=-", file, moved)
	other.mustStart()
	other.run(0, "", "operator", "snapshot", "restore", moved)
	if err := other.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	other.root = r.root
	other.mustGet("b", "2")
	other.mustStop()
}
