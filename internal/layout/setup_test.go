package layout

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forDemo and forTest are the packages that .ci/setup knows, in its order.
var (
	forDemo = []string{"softhsm2", "gcc", "libc6-dev"}
	forTest = append(slices.Clone(forDemo), "git", "opensc", "opensc-pkcs11", "p11-kit", "p11-kit-modules", "postgresql",
		"pgbouncer", "swtpm", "strace", "gpg", "gpg-agent", "openssh-client",
		"python3-venv", "nodejs", "npm", "chromium", "maven",
		"default-jdk-headless", "cargo-web")
)

// machine is what the checks of .ci/setup see: a root file system, and a folder that is the whole
// of PATH.
type machine struct{ root, bin string }

func newMachine(t *testing.T) machine {
	m := machine{t.TempDir(), t.TempDir()}
	m.file(t, "etc/os-release", "VERSION_CODENAME=bookworm\n")
	return m
}

func (m machine) file(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(m.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (m machine) program(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// missing returns what .ci/setup would install.
func (m machine) missing(t *testing.T, what string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bash, "../../.ci/setup", "-n", what)
	cmd.Env = []string{"PATH=" + m.bin, "SETUP_ROOT=" + m.root}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf(".ci/setup -n %s: %v", what, err)
	}
	return strings.Fields(string(out))
}

// TestSetupReportsEveryPackage runs the checks where nothing is installed: a check that answers for
// itself fails here.
func TestSetupReportsEveryPackage(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for what, want := range map[string][]string{"demo": forDemo, "test": forTest} {
		if got := m.missing(t, what); !slices.Equal(got, want) {
			t.Errorf(".ci/setup -n %s on an empty machine: %v, want %v", what, got, want)
		}
	}
}

// TestSetupKnowsWhatTestsRequire: a program that a test requires is one that .ci/setup looks
// for, so that the test runs on a fresh machine.
func TestSetupKnowsWhatTestsRequire(t *testing.T) {
	t.Parallel()
	setup, err := os.ReadFile("../../.ci/setup")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("git", "-C", "../..", "grep", "-hoE", `testkit\.Require\([a-z]+, "[^"]+"\)`, "--",
		"*_test.go").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	required := strings.Fields(string(out))
	if len(required) < 10 {
		t.Fatalf("only %d words found: has the form of the calls changed?", len(required))
	}
	for line := range strings.Lines(string(out)) {
		program := strings.Split(line, `"`)[1]
		if !strings.Contains(string(setup), "have_program "+program) {
			t.Errorf("a test requires %s, and .ci/setup does not look for it", program)
		}
	}
}

// TestSetupChecksOneThingEach installs everything, and then takes one program or file away at a
// time.
func TestSetupChecksOneThingEach(t *testing.T) {
	t.Parallel()
	programs := map[string]string{
		"softhsm2-util": "softhsm2", "pkcs11-tool": "opensc", "p11-kit": "p11-kit",
		"git": "git", "swtpm": "swtpm", "strace": "strace", "gpg": "gpg", "gpgconf": "gpg", "gpg-agent": "gpg-agent",
		"ssh-keygen": "openssh-client",
		"python3":    "python3-venv", "node": "nodejs", "npm": "npm", "chromium": "chromium", "mvn": "maven",
		"java": "default-jdk-headless", "javac": "default-jdk-headless", "cargo": "cargo-web",
	}
	const lib, lib64, postgres = "usr/lib/x86_64-linux-gnu/", "usr/lib64/", "usr/lib/postgresql/15/bin/initdb"
	// Each file is found in any one of its places, wherever the others are empty.
	files := map[string][]string{
		"softhsm2": {lib + "softhsm/libsofthsm2.so", "usr/lib/softhsm/libsofthsm2.so",
			lib64 + "pkcs11/libsofthsm2.so"},
		"opensc-pkcs11":   {lib + "pkcs11/pkcs11-spy.so", lib + "pkcs11-spy.so", lib64 + "pkcs11-spy.so"},
		"p11-kit-modules": {lib + "pkcs11/p11-kit-client.so", lib64 + "pkcs11/p11-kit-client.so"},
		"postgresql":      {postgres},
		"pgbouncer":       {"usr/sbin/pgbouncer"},
	}
	m := newMachine(t)
	for name := range programs {
		m.program(t, name, "exit 0")
	}
	m.program(t, "gcc", "exit 0")
	for _, places := range files {
		m.file(t, places[0], "")
	}
	wants := func(when string, want ...string) {
		t.Helper()
		if got := m.missing(t, "test"); !slices.Equal(got, want) {
			t.Errorf("%s: missing %v, want %v", when, got, want)
		}
	}
	wants("everything is installed")
	for name, of := range programs {
		path := filepath.Join(m.bin, name)
		aside(t, path, func() { wants("without "+name, of) })
		if name == "python3" {
			m.program(t, name, "exit 1")
			wants("Python cannot make virtual environments", of)
			m.program(t, name, "exit 0")
		}
	}
	for of, places := range files {
		aside(t, filepath.Join(m.root, places[0]), func() {
			wants("without the file of "+of, of)
			for _, other := range places[1:] {
				m.file(t, other, "")
				wants(of + " in " + other)
				if err := os.Remove(filepath.Join(m.root, other)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	aside(t, filepath.Join(m.root, postgres), func() {
		m.program(t, "initdb", "exit 0")
		wants("initdb is in PATH")
		if err := os.Remove(filepath.Join(m.bin, "initdb")); err != nil {
			t.Fatal(err)
		}
	})
	m.program(t, "gcc", "exit 1")
	wants("gcc finds no headers", "libc6-dev")
	m.program(t, "gcc", "exit 0")
	if err := os.Remove(filepath.Join(m.bin, "cargo")); err != nil {
		t.Fatal(err)
	}
	m.file(t, "etc/os-release", "VERSION_CODENAME=other\n")
	wants("there is no Rust, and the distribution has none that is new enough")
}

// aside runs do while a file is under another name.
func aside(t *testing.T, path string, do func()) {
	t.Helper()
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	do()
	if err := os.Rename(path+".aside", path); err != nil {
		t.Fatal(err)
	}
}
