// Package testkit holds what tests are made of: emulators and real peers in its subpackages, and
// how to find the checkout's root here. The program never links any of it; a layout test enforces
// that.
package testkit

import (
	"errors"
	"os"
	"path/filepath"
)

// Root returns the folder of go.mod, searched upwards from the working directory. It does not
// depend on paths compiled into the test, so it also works with -trimpath.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("testkit: no go.mod in the working directory or above it")
		}
		dir = parent
	}
}
