package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scheduleState is what a schedule did last.
type scheduleState struct{ Verified, Snapshot, Failing, Error string }

// schedules asks for the state of all schedules, by name.
func (r *harness) schedules() map[string]scheduleState {
	r.t.Helper()
	var all struct {
		Data struct {
			Schedules []struct {
				Name string
				Last scheduleState
			}
		}
	}
	r.decode(r.must(200, "GET", "sys/snapshots", nil), &all)
	out := map[string]scheduleState{}
	for _, s := range all.Data.Schedules {
		out[s.Name] = s.Last
	}
	return out
}

// TestScheduledSnapshotsOfAServer: the server of a configuration with a snapshot stanza takes and
// verifies one, alarms when its folder is lost, and recovers; what it took is resealed and fills an
// empty server with another seal.
func TestScheduledSnapshotsOfAServer(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	folder := t.TempDir()
	const secretKey = "MARK-secret-of-a-bucket"
	r.known.add("the secret of a bucket", secretKey)
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(secretKey), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	r.addConfig(fmt.Sprintf(`
snapshot "often" {
  every = "1s"
  keep  = 2
  path  = %q
}

snapshot "gone" {
  every = "1h"
  s3 {
    bucket     = "backups"
    region     = "eu-central-1"
    endpoint   = "http://%s"
    access_key = "AKID"
    secret_key = "file://%s"
  }
}
`, folder, free, secretFile))
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "kept")
	r.eventually(patience, "a verified snapshot and a failed one", func() bool {
		all := r.schedules()
		return all["often"].Verified != "" && all["gone"].Failing != ""
	})
	first, gone := r.schedules()["often"], r.schedules()["gone"]
	if out, _ := r.run(2, "", "operator", "snapshot", "schedules"); !strings.Contains(out, gone.Error) ||
		!strings.Contains(gone.Error, "s3: ") || !strings.Contains(out, folder) {
		t.Errorf("schedules: %s; %+v", out, gone)
	}
	if reply := r.call("GET", "sys/health", nil); !strings.Contains(string(reply.Body), `"snapshot_failure":"gone"`) {
		t.Errorf("health: %s", reply.Body)
	}
	if d := r.doctor(); !strings.Contains(fmt.Sprint(d), "its bucket cannot be listed") {
		t.Errorf("doctor: %+v", d)
	}
	r.eventually(patience, "retention", func() bool {
		_, err := os.Stat(filepath.Join(folder, first.Snapshot))
		return os.IsNotExist(err)
	})
	if err := os.Rename(folder, folder+"-lost"); err != nil {
		t.Fatal(err)
	}
	r.eventually(patience, "the alarm", func() bool { return r.schedules()["often"].Failing != "" })
	r.logs("ALARM: a scheduled snapshot failed")
	if err := os.Rename(folder+"-lost", folder); err != nil {
		t.Fatal(err)
	}
	r.eventually(patience, "the end of the alarm", func() bool { return r.schedules()["often"].Failing == "" })
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%v, %v", entries, err)
	}
	last := filepath.Join(folder, entries[len(entries)-1].Name())
	// In another region, whose server has another seal, it opens once it was resealed.
	other := newHarness(t, t.TempDir(), "seal \"static\" \"there\" {\n  current_key_id = \"k2\"\n  current_key = \""+
		strings.Repeat("7d", 32)+"\"\n}\n")
	other.mustStart()
	moved := filepath.Join(t.TempDir(), "moved.snap")
	restore := func(code int, file, words string) {
		t.Helper()
		res, err := other.CLI(t.Context(), "", "", "operator", "snapshot", "restore", file)
		if err != nil || res.Code != code || !strings.Contains(res.Err, words) {
			t.Fatalf("restore: %v, exit code %d: %s", err, res.Code, res.Err)
		}
	}
	restore(2, last, "do not unwrap the root key")
	reseal := []string{"operator", "snapshot", "reseal", "-config=sealgate.hcl",
		"-to=" + filepath.Join(other.Dir, "sealgate.hcl"), last, moved}
	r.run(0, "", reseal...)
	if _, errs := r.run(1, "", reseal...); !strings.Contains(errs, "exists; name another file") {
		t.Errorf("a second time: %s", errs)
	}
	if out, _ := r.run(0, "", "operator", "snapshot", "inspect", moved); !strings.Contains(out, `static "there"`) ||
		strings.Contains(out, `"box"`) || !strings.Contains(out, "Resealed") {
		t.Errorf("inspect: %s", out)
	}
	restore(0, moved, "")
	if err := other.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	other.root = r.root
	other.mustGet("a", "kept")
}
