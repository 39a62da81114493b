package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
// verifies one, alarms when its folder is lost, and recovers; what it took fills an empty server
// with another storage folder.
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
	const patience = time.Minute
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
	other := newStaticHarness(t)
	other.mustStart()
	if res, err := other.CLI(t.Context(), "", "", "operator", "snapshot", "restore", last); err != nil || res.Code != 0 {
		t.Fatalf("restore: %v %+v", err, res)
	}
	if err := other.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	other.root = r.root
	other.mustGet("a", "kept")
}
