package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const observabilityDir = "../../cmd/sealgate/observability"

// TestAlertRules runs the unit tests of the alerts by promtool.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := filepath.Abs("../../build/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(promtool); err != nil {
		t.Fatalf("%v: make promtool puts it there", err)
	}
	for _, file := range []string{"alerts_test.yaml", "alerts_slow_test.yaml"} {
		cmd := exec.CommandContext(t.Context(), promtool, "test", "rules", file)
		cmd.Dir = observabilityDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// sometimes are metrics that a healthy server without a device key does not have. They must be in
// the program under this name.
var sometimes = []string{
	"sealgate.seal.key_deletion_timestamp_seconds", "sealgate.device_key.deletion_timestamp_seconds",
	"sealgate.storage.failing", "sealgate.storage.lost_commits", "sealgate.seal.ending",
}

// TestAlertsAndDashboardNameRealMetrics looks up every metric that an alert or a panel names among
// those of a real server.
func TestAlertsAndDashboardNameRealMetrics(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	r.mustInit()
	r.must(204, "PUT", "sys/audit/main", map[string]any{"type": "file", "options": map[string]any{"file_path": "discard"}})
	r.must(204, "PUT", "sys/rotate", nil)
	r.must(200, "GET", "sys/mounts", nil)
	exposed := string(r.must(200, "GET", "sys/metrics?format=prometheus", nil).Body)

	var texts []string
	alerts, err := os.ReadFile(filepath.Join(observabilityDir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindAllStringSubmatch(string(alerts), -1) {
		texts = append(texts, m[1])
	}
	raw, err := os.ReadFile(filepath.Join(observabilityDir, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			texts = append(texts, target.Expr)
		}
	}
	if len(texts) < 40 {
		t.Fatalf("only %d expressions", len(texts))
	}
	seen := map[string]bool{}
	for _, text := range texts {
		for _, name := range regexp.MustCompile(`\b(?:sealgate|vault)_[a-z_]+`).FindAllString(text, -1) {
			if seen[name] {
				continue
			}
			seen[name] = true
			if !strings.Contains(exposed, "\n"+name+"{") && !strings.Contains(exposed, "\n"+name+" ") &&
				!slices.ContainsFunc(sometimes, func(s string) bool { return strings.ReplaceAll(s, ".", "_") == name }) {
				t.Errorf("%s names %s, which the server does not expose", text, name)
			}
		}
	}
	for _, name := range sometimes {
		if exec.CommandContext(t.Context(), "git", "-C", "../..", "grep", "-qF", `"`+name+`"`, "--", "*.go",
			":!*_test.go").Run() != nil {
			t.Errorf("no code has the metric %s", name)
		}
	}
}
