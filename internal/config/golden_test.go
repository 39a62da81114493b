package config

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const testdata = "../../testdata/config"

// TestFiles reads every example as the server would, and compares with what it should understand,
// or refuse.
func TestFiles(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(testdata)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".want" {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			got := describe(Load([]string{filepath.Join(testdata, e.Name())}, nil))
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret shows:\n%s", got)
			}
			if failed := strings.HasPrefix(got, "error"); failed != strings.HasPrefix(e.Name(), "error") {
				t.Errorf("unexpected:\n%s", got)
			}
			golden(t, e.Name(), got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(testdata, name+".want")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// describe shows what was understood, one fact a line, paths without the folder of the tests.
func describe(c *Config, err error) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if err == nil {
		err = c.Complete()
	}
	if err != nil && (c == nil || c.PIDFile == "x.pid") {
		line("error\n%v", err)
		return strings.ReplaceAll(b.String(), testdata+"/", "")
	}
	if err != nil {
		line("incomplete: %v", err)
	}
	if c.Storage != nil {
		line("%s: storage %s %q", c.Storage.Pos, c.Storage.Type, c.Storage.Path)
	}
	for _, l := range c.Listeners {
		pos := l.Pos
		front := l.Front
		l.Pos, l.Front = Pos{}, Front{}
		line("%s: listener %s", pos, strings.Replace(fmt.Sprintf("%+v", l), fmt.Sprintf(" Front:%+v", Front{}), "", 1))
		if standard := (Front{Forwarded: ForwardedFor{RejectAbsent: true, RejectNotAuthorized: true}}); !reflect.DeepEqual(
			front, standard) {
			line("  front %+v", front)
		}
	}
	for _, s := range c.Seals {
		line("%s: seal %s %q priority=%d disabled=%t %v", s.Pos, s.Type, s.Name, s.Priority, s.Disabled,
			slices.Sorted(maps.Keys(s.Params)))
	}
	line("policy %s %d", c.SealPolicy.Mode, c.SealPolicy.Threshold)
	for _, a := range c.Audit {
		line("%s: audit %+v", a.Pos, a.Device)
	}
	if len(c.Audit) > 0 {
		o := c.AuditOptions()
		line("audit by requests forbidden=%t anywhere=%t folders=%q prefix=%t", o.ForbidAPI, o.AnyFile, o.Folders,
			o.AllowPrefix)
	}
	line("api=%q cluster=%q name=%q pid=%q log=%s/%s", c.APIAddr, c.ClusterAddr, c.ClusterName, c.PIDFile, c.LogLevel,
		c.LogFormat)
	line("leases=%s/%s request=%s raw=%t", c.DefaultLeaseTTL, c.MaxLeaseTTL, c.DefaultMaxRequestDuration,
		c.RawStorageEndpoint)
	if c.AllowDebugging || c.DisableMlock {
		line("debugging=%t mlock=%t", c.AllowDebugging, !c.DisableMlock)
	}
	if c.Telemetry != defaultTelemetry() {
		line("telemetry %+v", c.Telemetry)
	}
	for _, n := range c.Notes {
		line("note (loud=%t) %s", n.Warn, n)
	}
	return strings.ReplaceAll(b.String(), testdata+"/", "")
}
