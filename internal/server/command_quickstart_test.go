package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/cli"
	"github.com/sealgate/sealgate/internal/config"
)

// quickstart answers the questions by lines of in.
func quickstart(in string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	c := &quickstartCommand{env: cli.Env{Stdin: strings.NewReader(in), Stdout: &stdout, Stderr: &stderr}}
	return c.Run(args), stdout.String(), stderr.String()
}

// TestQuickstart: each answer gives a configuration that loads.
func TestQuickstart(t *testing.T) {
	for _, keys := range []string{"hsm", "aws", "gcp", "azure", "shamir"} {
		for _, data := range []string{"data", "https://127.0.0.1:2379", "postgres://127.0.0.1/sealgate"} {
			dir := filepath.Join(t.TempDir(), "new")
			code, out, errs := quickstart(keys+"\n"+data+"\nann, ben,\tcarl\n", "-dir="+dir)
			if code != 0 {
				t.Fatalf("%s, %s: %s", keys, data, errs)
			}
			if !strings.Contains(out, "shares=3") || !strings.Contains(out, "threshold=2 -holders='ann,ben,carl'") {
				t.Errorf("%s: the next commands are\n%s", keys, out)
			}
			path := filepath.Join(dir, "sealgate.hcl")
			cfg, err := config.Load([]string{path}, func(string) string { return "" })
			if err != nil {
				t.Fatalf("%s, %s: %v", keys, data, err)
			}
			if want := 1; keys == "shamir" && len(cfg.Seals) > want || keys != "shamir" && len(cfg.Seals) != want || !cfg.UI {
				t.Errorf("%s: %d seals, ui %t", keys, len(cfg.Seals), cfg.UI)
			}
			unit, err := os.ReadFile(filepath.Join(dir, "sealgate.service.conf"))
			if err != nil || !strings.Contains(string(unit), "-config="+path+"\n") ||
				strings.Contains(string(unit), "ReadWritePaths=") != (data == "data") ||
				strings.Contains(string(unit), "DeviceAllow") != (keys == "hsm") {
				t.Errorf("%s, %s: the drop-in is\n%s, %v", keys, data, unit, err)
			}
			if code, _, errs := quickstart("", "-dir="+dir, "-keys=shamir", "-data=x", "-holders=a"); code != 1 ||
				!strings.Contains(errs, "is not overwritten") {
				t.Errorf("a second time: %d %s", code, errs)
			}
		}
	}
}

func TestQuickstartRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"": "no answer", "tpm\n": `there is no "tpm"`, "hsm\na\"b\n": "has a quote", "hsm\n${x}\n": "has a quote",
		"hsm\nd\n , \n": "name 1 to 255 holders",
	} {
		dir := t.TempDir()
		code, _, errs := quickstart(in, "-dir="+dir)
		if files, err := os.ReadDir(dir); code != 1 || !strings.Contains(errs, want) || len(files) > 0 || err != nil {
			t.Errorf("%q: %d %s, %d files", in, code, errs, len(files))
		}
	}
}

// TestSoftHSMExec: the command finds the token, its exit code is kept, and nothing stays.
func TestSoftHSMExec(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	c := &softhsmExecCommand{env: cli.Env{Stdin: strings.NewReader("in"), Stdout: &stdout, Stderr: &stderr}}
	code := c.Run([]string{"--", "sh", "-c", `cat; test -s "$SOFTHSM2_CONF" && echo " $SEALGATE_HSM_TOKEN_LABEL"; exit 7`})
	if code != 7 || stdout.String() != "in sealgate-test\n" {
		t.Errorf("%d %q %q", code, stdout.String(), stderr.String())
	}
	if code := c.Run([]string{"sh", "-c", "kill -TERM $$"}); code != 143 {
		t.Errorf("ended by a signal: %d", code)
	}
	if code := c.Run([]string{"/no/such/command"}); code != 1 || !strings.Contains(stderr.String(), "does not start") {
		t.Errorf("no command: %d %s", code, stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "sealgate-softhsm-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
