package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
