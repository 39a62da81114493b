//go:build cgo && linux

package pkcs11_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

// makeToken makes a token whose PIN this process never sees: the shell writes it into a file, and
// into another one with letters for its digits.
const makeToken = `set -e
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\n' "$PWD" > softhsm2.conf
pin=$(od -An -N40 -tu1 /dev/urandom | tr -dc 0-9 | cut -c1-24)
printf %s "$pin" > pin
printf %s "$pin" | tr 0123456789 abcdefghij > letters
SOFTHSM2_CONF=$PWD/softhsm2.conf softhsm2-util --init-token --free --label memory --pin "$pin" --so-pin 12345678 --module "$1"
`

// TestPINIsNotInTheServersMemory: with pin = "file://...", this process, which stands for the
// server, has no copy of the PIN once the stanza was parsed: the worker reads it from a memory file
// that is not mapped. A PIN in the stanza or the environment stays in strings, which Go cannot
// wipe.
func TestPINIsNotInTheServersMemory(t *testing.T) {
	testkit.Require(t, "softhsm2-util")
	lib, err := softhsm.Lib()
	must(t, err)
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", makeToken, "sh", lib)
	cmd.Dir = dir
	if err := cmd.Run(); err != nil { // its output may show the PIN
		t.Fatal(err)
	}
	letters, err := os.ReadFile(filepath.Join(dir, "letters"))
	if err != nil || len(letters) != 24 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "softhsm2.conf"))
	w, err := pkcs11.New(seals.Config{Name: "m", Type: "pkcs11", Getenv: none, Params: map[string]string{
		"lib": lib, "token_label": "memory", "pin": "file://" + filepath.Join(dir, "pin"), "key_label": "k",
		"generate_key": "true",
	}})
	must(t, err)
	defer w.(*pkcs11.Wrapper).Close()
	blob, err := w.Encrypt(t.Context(), []byte("root key"))
	must(t, err)
	if n := memoryHas(t, letters); n != 0 {
		t.Errorf("the PIN is in this process's memory %d times", n)
	}
	_, err = w.Decrypt(t.Context(), blob)
	must(t, err)
	control := bytes.Map(func(r rune) rune { return r - 'a' + '0' }, letters)
	if n := memoryHas(t, letters); n == 0 {
		t.Error("the search does not find a PIN that is there")
	}
	clear(control)
}

// memoryHas counts a PIN, given by letters for its digits, in this process's writable memory.
func memoryHas(t *testing.T, letters []byte) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	mem, err := os.Open("/proc/self/mem")
	must(t, err)
	defer mem.Close()
	buf := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buf) - len(letters)) {
			got, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			for i, c := range buf[:got] {
				switch {
				case c >= '0' && c <= '9':
					buf[i] = c - '0' + 'a'
				default:
					buf[i] = 0 // the letters themselves do not count
				}
			}
			n += bytes.Count(buf[:got], letters)
			clear(buf)
		}
	}
	return n
}
