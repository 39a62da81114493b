package softhsm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Options of Init. An empty field gets a random value.
type Options struct {
	Label string
	PIN   string
	SOPIN string
}

// ErrInUse is returned by Init for a folder that is not empty.
var ErrInUse = errors.New("the folder is not empty")

// Init creates a token with its own configuration in a new or empty folder, which the caller
// deletes. It runs softhsm2-util and changes nothing in this process, whose PKCS#11 code may be
// using another token.
func Init(dir string, o Options) (*Token, error) {
	lib, err := Lib()
	if err != nil {
		return nil, err
	}
	tool, err := util()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if strings.ContainsAny(dir, "\n\r") {
		return nil, fmt.Errorf("softhsm: the folder name %q contains a line break", dir)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("softhsm: %w: %s; choose a new one", ErrInUse, dir)
	}
	k := &Token{
		Lib: lib, Dir: dir, Label: cmp.Or(o.Label, "sealgate-"+digits(8)),
		PIN: cmp.Or(o.PIN, digits(12)), SOPIN: cmp.Or(o.SOPIN, digits(12)),
	}
	if k.ConfigPath, err = prepare(dir); err != nil {
		return nil, err
	}
	cmd := exec.Command(tool, "--init-token", "--free", "--module", lib, "--label", k.Label, "--pin", k.PIN,
		"--so-pin", k.SOPIN)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.ConfigPath)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("softhsm: softhsm2-util: %w: %s", err, bytes.TrimSpace(out))
	}
	return k, k.settle(nil)
}
