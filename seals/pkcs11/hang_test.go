//go:build cgo && linux

package pkcs11_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

// hostile makes a seal on a library that does at C_Initialize what the test says.
func hostile(t *testing.T, how string) *pkcs11.Wrapper {
	t.Helper()
	lib := filepath.Join(t.TempDir(), "hostile.so")
	out, err := exec.Command("cc", "-w", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", lib,
		"../../hsm/internal/worker/testdata/hostile.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("HOSTILE_INIT", how)
	w, err := pkcs11.New(seals.Config{Name: "s", Type: "pkcs11", Getenv: none, Params: map[string]string{
		"lib": lib, "slot": "7", "pin": "1234", "key_label": "k",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w.(*pkcs11.Wrapper)
}

// TestHangingHSMIsReportedSoon: init and start learn of it within 4 s, and a stop takes at most 3 s
// where nothing else runs.
func TestHangingHSMIsReportedSoon(t *testing.T) {
	w := hostile(t, "hang")
	start := time.Now()
	_, err := w.Encrypt(t.Context(), []byte("root key"))
	took := time.Since(start)
	testkit.AtMost(t, "the report of a hanging HSM, in seconds", took.Seconds(), 4)
	if seals.ClassOf(err) != seals.Unreachable || took > time.Minute/2 {
		t.Errorf("%v after %s; want Unreachable", err, took)
	}
	start = time.Now()
	err = w.Close()
	took = time.Since(start)
	testkit.AtMost(t, "closing a hanging HSM, in seconds", took.Seconds(), 3)
	if err != nil || took > time.Minute/2 {
		t.Errorf("Close: %v after %s", err, took)
	}
}

func TestLibraryThatNeedsArguments(t *testing.T) {
	w := hostile(t, "arguments")
	defer w.Close()
	_, err := w.Encrypt(t.Context(), []byte("root key"))
	if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), "parameters of its own") {
		t.Errorf("%v; want Misconfigured, with the reason", err)
	}
}
