package e2e

import (
	"slices"
	"strings"
	"testing"
)

// checkPoints compares the failpoints that a scenario passed with those that it must pass, by name:
// a failpoint that was deleted or moved out of an operation fails here instead of shrinking the
// matrix unseen.
func checkPoints(t *testing.T, scenario string, passed []string) {
	t.Helper()
	var names []string
	for _, p := range passed {
		name, _, _ := strings.Cut(p, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	want := slices.Sorted(slices.Values(append([]string{"storage.commit.before", "storage.commit.after"},
		crashPoints[scenario]...)))
	if !slices.Equal(names, want) {
		t.Errorf("failpoints of %s:\n%q\nwant\n%q", scenario, names, want)
	}
}

// rewrapPoints are those of a rewrap that ends with a retirement.
var rewrapPoints = []string{"retire.commit", "retire.done", "rewrap-data.commit"}

// crashPoints are the failpoints of each scenario, besides those around every commit of the
// storage.
var crashPoints = map[string][]string{
	"add-custodians":                {"authorize.commit", "seals.commit"},
	"authorize-restore":             {"authorize.commit"},
	"break-glass":                   {"break-glass.record.commit"},
	"change-seals":                  {"authorize.commit", "seals.commit"},
	"compromise":                    append(rewrapPoints[:3:3], "compromise.commit", "refuse.commit", "root.commit"),
	"compromise-shamir":             append(rewrapPoints[:3:3], "compromise.commit", "refuse.commit", "root.commit"),
	"compact":                       {"storage.compact.after", "storage.compact.before"},
	"device-import":                 {"device.import.after", "device.import.before", "keys.commit"},
	"device-import-version":         {"device.import.after", "device.import.before", "keys.commit"},
	"device-rotate":                 {"device.generate.after", "keys.commit"},
	"device-trim":                   {"keys.commit", "keys.sweep"},
	"generate-root":                 {"generate-root.commit"},
	"init":                          {"init.commit"},
	"init-shamir":                   {"init.commit"},
	"migrate-seals":                 {"migrate.commit"},
	"rekey-barrier":                 {"root.commit"},
	"rekey-barrier-shamir":          {"root.commit"},
	"rekey-barrier-shamir-verified": {"rekey.await.commit", "root.commit"},
	"rekey-recovery":                {"rekey.recovery.commit"},
	"rekey-recovery-enrolled":       {"break-glass.enroll.commit", "root.commit"},
	"rekey-recovery-cancelled":      {"rekey.await.commit"},
	"rekey-recovery-recipients":     {"answer.wipe", "rekey.recovery.commit"},
	"rekey-recovery-verified":       {"rekey.await.commit", "rekey.recovery.commit"},
	"remove-break-glass":            {"root.commit"},
	"replace-seal":                  {"authorize.commit", "seals.commit"},
	"restore":                       {"restore.decide"},
	"restore-shamir":                {"restore.decide"},
	"revoke-tree":                   {"token.clean", "token.revoke"},
	"rewrap-seals":                  {"rewrap.commit"},
	"rewrap-retire":                 append(rewrapPoints[:3:3], "rewrap-data.start", "rotate.commit"),
	"rotate":                        {"rotate.commit"},
	"rotate-root":                   {"root.commit"},
	"rotate-root-shamir":            {"root.commit"},
	"rotate-seal-key": {"authorize.commit", "rewrap.commit", "seals.key.destroy", "seals.key.made", "seals.key.make",
		"seals.key.note", "seals.key.retire"},
	"rotate-shamir":         {"rotate.commit"},
	"transit-create":        {"keys.commit"},
	"transit-delete":        {"keys.commit", "keys.sweep"},
	"transit-import":        {"keys.commit"},
	"transit-restore":       {"keys.commit", "keys.restore.versions"},
	"transit-restore-force": {"keys.commit", "keys.restore.versions", "keys.sweep"},
	"transit-rotate":        {"keys.commit"},
	"transit-soft-delete":   {"keys.commit"},
	"transit-trim":          {"keys.commit", "keys.sweep"},
	"unmount":               {"unmount.end", "unmount.sweep"},
}
