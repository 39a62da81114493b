package e2e

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestSnapshotCommands saves, inspects and restores as an operator does, under both names.
func TestSnapshotCommands(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "before")
	file := filepath.Join(t.TempDir(), "today.snap")
	run := func(code int, args ...string) Result {
		t.Helper()
		res, err := r.CLI(t.Context(), r.root, "", args...)
		if err != nil || res.Code != code {
			t.Fatalf("%v: exit %d, %v\n%s%s", args, res.Code, err, res.Out, res.Err)
		}
		return res
	}
	if res := run(0, "operator", "raft", "snapshot", "save", file); res.Out != "" {
		t.Errorf("save printed %q", res.Out)
	}
	var info struct {
		ClusterID string `json:"cluster_id"`
		Entries   int    `json:"entries"`
	}
	if err := json.Unmarshal([]byte(run(0, "operator", "snapshot", "inspect", "-format=json", file).Out),
		&info); err != nil || info.Entries == 0 || info.ClusterID == "" {
		t.Errorf("inspect: %+v, %v", info, err)
	}
	// The signature is checked offline, by the key of that time.
	var key struct {
		Public  string `json:"public_key"`
		Retired []struct {
			Public string `json:"public_key"`
		}
	}
	read := func(command string) string {
		t.Helper()
		if err := json.Unmarshal([]byte(run(0, "operator", "snapshot", command, "-format=json").Out), &key); err != nil {
			t.Fatal(err)
		}
		return key.Public
	}
	first := read("public-key")
	second := read("rotate-key")
	if first == second || len(key.Retired) != 1 || key.Retired[0].Public != first || read("public-key") != second {
		t.Errorf("after a rotation of %s: %+v", first, key)
	}
	if res := run(0, "operator", "snapshot", "inspect", "-public-key="+first, file); !strings.Contains(res.Out, first) {
		t.Errorf("inspect: %q", res.Out)
	}
	for _, command := range []string{"inspect", "restore"} {
		if res := run(1, "operator", "snapshot", command, "-public-key="+second, file); !strings.Contains(res.Err,
			"not signed by the expected key") {
			t.Errorf("%s: %q", command, res.Err)
		}
	}
	if res := run(0, "operator", "snapshot", "verify", file); !strings.Contains(res.Out,
		"This server could restore the snapshot") {
		t.Errorf("verify: %q", res.Out)
	}
	r.mustPut("a", "after")
	if res := run(0, "operator", "snapshot", "restore", file); !strings.Contains(res.Err,
		"Replacing everything at "+r.URL()) {
		t.Errorf("restore says %q", res.Err)
	}
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.mustGet("a", "before")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	run(1, "operator", "snapshot", "inspect", file)
	run(2, "operator", "snapshot", "verify", file)
	if res := run(1, "operator", "raft", "snapshot", "restore", file); !strings.Contains(res.Err, "nothing was sent") {
		t.Errorf("a damaged file: %q", res.Err)
	}
	r.mustGet("a", "before")
	// Without the capability nothing is saved, and what was saved before stays.
	res, err := r.CLI(t.Context(), "s.000000000000000000000000", "", "operator", "snapshot", "save", file)
	if err != nil || res.Code != 2 || !strings.Contains(res.Err, "permission denied") {
		t.Errorf("with an unknown token: exit %d, %v: %s", res.Code, err, res.Err)
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(raw) {
		t.Errorf("the existing file was touched: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestForcedRestoreByCommands restores another cluster's snapshot as an operator and the holders of
// shares do: the refusal names the command that starts the ceremony, the shares are given, a holder
// co-signs the record, and the restore works once.
func TestForcedRestoreByCommands(t *testing.T) {
	t.Parallel()
	other, r := newStaticHarness(t), newStaticHarness(t)
	file := filepath.Join(t.TempDir(), "other.snap")
	other.mustStart()
	other.mustInit()
	other.mustPut("a", "theirs")
	other.run(0, "", "operator", "snapshot", "save", file)
	r.mustStart()
	shares := r.mustInit()
	_, errs := r.run(2, "", "operator", "snapshot", "restore", "-force", file)
	const start = "operator authorize -purpose=restore -init"
	if !strings.Contains(errs, "`sealgate "+start+"`") {
		t.Fatalf("the refusal does not name the command: %s", errs)
	}
	var st struct {
		Nonce    string
		Complete bool
	}
	r.runJSON(&st, "", strings.Fields(start)...)
	r.runJSON(&st, strings.Join(shares[:3], "\n"), "operator", "authorize", "-purpose=restore", "-nonce="+st.Nonce, "-")
	if !st.Complete {
		t.Fatal("the shares authorised nothing")
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key, export := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "t.json")
	if err := os.WriteFile(key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	r.run(0, "", "operator", "transcript", "sign", "-name=alice", "-key="+key, "1")
	r.run(0, "", "operator", "transcript", "export", export)
	out, _ := r.run(0, "", "transcript", "verify", export)
	if !strings.Contains(out, "record 1 by alice with the SSH key") || !strings.Contains(out, "attested by the server") {
		t.Errorf("verify: %s", out)
	}
	r.run(0, "", "operator", "snapshot", "restore", "-force", file)
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.root = other.root
	r.mustGet("a", "theirs")
	if _, errs := r.run(2, "", "operator", "snapshot", "restore", "-force", file); !strings.Contains(errs, start) {
		t.Errorf("a second restore: %s", errs)
	}
}
