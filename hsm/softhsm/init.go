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

// Options of Init. Empty fields are chosen at random.
type Options struct {
	Label string
	PIN   string
	SOPIN string
}

// ErrInUse is returned by Init for a folder that is not empty.
var ErrInUse = errors.New("the folder is not empty")

// Init makes a token with a configuration of its own in a new or empty folder, which the caller deletes in the end. It
// changes nothing in this process, whose own PKCS#11 code may be using another token: softhsm2-util does the work.
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
		return nil, fmt.Errorf("softhsm: a line break in the name of the folder %q", dir)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("softhsm: %w: %s; give a new one", ErrInUse, dir)
	}
	k := &Token{
		Lib: lib, Dir: dir, Label: cmp.Or(o.Label, "sealgate-"+digits(8)),
		PIN: cmp.Or(o.PIN, digits(12)), SOPIN: cmp.Or(o.SOPIN, digits(12)),
	}
	if k.ConfigPath, err = prepare(dir); err != nil {
		return nil, err
	}
	cmd := exec.Command(tool, "--init-token", "--free", "--module", lib, "--label", k.Label, "--pin", k.PIN, "--so-pin", k.SOPIN)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+k.ConfigPath)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("softhsm: softhsm2-util: %w: %s", err, bytes.TrimSpace(out))
	}
	return k, k.settle(nil)
}
