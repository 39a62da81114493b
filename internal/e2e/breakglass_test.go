package e2e

import (
	"bytes"
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
	s := breakGlassStory{harness: newHSMHarness(t, ""), trail: filepath.Join(t.TempDir(), "audit.log")}
	s.addConfig("unsafe_allow_api_audit_creation = true\n")
	s.mustStart()
	s.shares = s.mustInit()
	for _, share := range s.shares {
		s.known.addShare(share)
	}
	config, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	s.config = string(config)
	s.must(204, "PUT", "sys/audit/main", map[string]any{"type": "file", "options": map[string]any{"file_path": s.trail}})
	s.mustPut("a", "1")
	s.enrol()
	s.loseTheKey()
	s.unsealByShares()
	s.replaceTheSeal()
	s.records()
}

// breakGlassStory is a server whose only seal is lost, and the holders of its recovery shares.
type breakGlassStory struct {
	*harness
	shares        []string
	config, trail string // the configuration with the HSM, and the audit trail
}

func (s breakGlassStory) says(text, want string) {
	s.t.Helper()
	if !strings.Contains(text, want) {
		s.t.Errorf("%q is not in\n%s", want, text)
	}
}

// prints runs a command and checks its exit code and what it prints.
func (s breakGlassStory) prints(want string, code int, stdin string, args ...string) {
	s.t.Helper()
	out, errs := s.run(code, stdin, args...)
	s.says(out+errs, want)
}

func (s breakGlassStory) enrol() {
	s.t.Helper()
	three := strings.Join(s.shares[:3], "\n") + "\n"
	s.prints("does not survive the loss of every seal", 0, "", "operator", "forecast")
	s.run(0, "", "operator", "break-glass", "enroll", "-init")
	s.prints("Enrolled", 0, three, "operator", "break-glass", "enroll", "-nonce="+s.enrolNonce(), "-")
	s.prints("survives the loss of every seal: 3 of 5 recovery shares open it", 0, "", "operator", "forecast")
	s.prints("survives the loss of every seal: 3 of 5", 0, "", "operator", "seals", "list")
	s.must(204, "PUT", "sys/rotate/root", nil)
	s.must(204, "PUT", "sys/rotate", nil)
	s.mustPut("b", "2")
	last := filepath.Join(s.t.TempDir(), "last.snap")
	s.run(0, "", "operator", "snapshot", "save", last)
	inspected, _ := s.run(0, "", "operator", "snapshot", "inspect", last)
	s.says(strings.Join(strings.Fields(inspected), " "), "Break-Glass 3 of 5 shares, generation 1")
	if err := s.Kill(); err != nil {
		s.t.Fatal(err)
	}
	resealedByShares(s.t, s.harness, last, three)
}

// loseTheKey: until the configuration allows it, the shares do nothing.
func (s breakGlassStory) loseTheKey() {
	s.t.Helper()
	lost := strings.NewReplacer("key_label = \"root\"\n  generate_key = true",
		"key_label = \"lost\"").Replace(s.config)
	if err := s.WriteConfig(lost); err != nil {
		s.t.Fatal(err)
	}
	s.mustStart()
	s.says(string(s.must(403, "PUT", "sys/break-glass", map[string]string{"key": s.shares[0]}).Body), "break_glass = true")
	if err := s.Kill(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.WriteConfig("break_glass = true\n" + lost + staticSeal); err != nil {
		s.t.Fatal(err)
	}
	s.prints("survives the loss of every seal: 3 of 5 recovery shares", 2, "", "doctor", "-config=sealgate.hcl")
	s.mustStart()
	s.untilSealsFail()
	s.says(strings.Join(s.status().Warnings, "\n"), "3 of 5 recovery shares can unseal this server")
}

// unsealByShares: a stranger floods the server from another address meanwhile, and ends nothing.
func (s breakGlassStory) unsealByShares() {
	s.t.Helper()
	s.prints("1/3", 0, s.shares[0]+"\n", "operator", "break-glass", "-")
	flooded := false
	for range 400 {
		reply := s.call("PUT", "sys/break-glass", map[string]any{"key": strings.Repeat("ab", 33), "reset": true})
		if flooded = reply.Code == 429; flooded {
			break
		}
		if reply.Code != 400 {
			s.t.Fatalf("a wrong share: %d %s", reply.Code, reply.Body)
		}
	}
	if !flooded {
		s.t.Error("wrong shares are not limited")
	}
	s.prints("1/3", 0, "", "operator", "break-glass", "status")
	others := strings.Join(s.shares[1:3], "\n") + "\n"
	s.prints("Unsealed By Break-Glass", 0, others, "operator", "break-glass", "-")
	s.mustGet("a", "1")
	s.mustGet("b", "2")
	s.says(strings.Join(s.status().Warnings, "\n"), "unsealed by break-glass")
}

// replaceTheSeal: the static seal takes the place of the lost one.
func (s breakGlassStory) replaceTheSeal() {
	s.t.Helper()
	s.prints("-purpose=seals -init", 2, "", "operator", "seals", "add", "box", "-replaces=hsm")
	var st struct{ Nonce string }
	change := map[string]string{"change": "replace hsm with box"}
	s.decode(s.must(200, "PUT", "sys/authorize/seals/attempt", change), &st)
	for _, share := range s.shares[2:] {
		s.must(200, "PUT", "sys/authorize/seals/update", map[string]string{"key": share, "nonce": st.Nonce})
	}
	s.prints("any of box", 0, "", "operator", "seals", "add", "box", "-replaces=hsm")
	if err := s.Kill(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.WriteConfig(sealStanza.ReplaceAllString(s.config, "") + staticSeal); err != nil {
		s.t.Fatal(err)
	}
	s.mustStart()
	if err := s.UntilUnsealed(); err != nil {
		s.t.Fatal(err)
	}
	s.mustGet("b", "2")
	if warnings := strings.Join(s.status().Warnings, "\n"); strings.Contains(warnings, "break-glass") {
		s.t.Errorf("it still warns: %s", warnings)
	}
}

// records checks the transcript and the audit trail.
func (s breakGlassStory) records() {
	s.t.Helper()
	var out struct{ Data json.RawMessage }
	s.decode(s.must(200, "GET", "sys/recovery/transcript", nil), &out)
	report, err := transcript.VerifyFile(bytes.NewReader(out.Data), nil, nil)
	if err != nil || !report.OK() {
		s.t.Fatalf("the transcript: %v, %+v", err, report)
	}
	for _, want := range []string{`"break-glass-enroll"`, `"break-glass"`, `key not found on the token`} {
		s.says(string(out.Data), want)
	}
	entries, err := os.ReadFile(s.trail)
	if err != nil {
		s.t.Fatal(err)
	}
	s.says(string(entries), "sys/break-glass/enroll/update")
	for _, share := range s.shares {
		if bytes.Contains(entries, []byte(share)) {
			s.t.Error("the audit trail has a share")
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
