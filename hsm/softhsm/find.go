package softhsm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNotInstalled is returned when SoftHSM is not found. Its text says what to install.
var ErrNotInstalled = errors.New("SoftHSM 2 is not installed")

const howTo = "install it (Debian, Ubuntu: apt-get install softhsm2; Fedora, RHEL: dnf install softhsm; Alpine: apk " +
	"add softhsm; " +
	"macOS: brew install softhsm)"

// places lists the library's paths in common distributions.
var places = []string{
	"/usr/lib/softhsm/libsofthsm2.so", // Debian, Ubuntu, Alpine
	"/usr/lib/*-linux-gnu*/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so", // Fedora, RHEL
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib64/libsofthsm2.so",
	"/usr/lib/libsofthsm2.so", // Arch
	"/usr/lib/pkcs11/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/libsofthsm2.so",
}

// Lib returns the path of SoftHSM's library: the environment variable SOFTHSM2_LIB, or a usual
// path.
func Lib() (string, error) {
	if path := os.Getenv("SOFTHSM2_LIB"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w at the path in SOFTHSM2_LIB: %w", ErrNotInstalled, err)
		}
		return path, nil
	}
	for _, pattern := range places {
		found, err := filepath.Glob(pattern)
		if err == nil && len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("%w: %s, or set SOFTHSM2_LIB to the path of libsofthsm2.so", ErrNotInstalled, howTo)
}

// util returns the path of softhsm2-util.
func util() (string, error) {
	path, err := exec.LookPath("softhsm2-util")
	if err != nil {
		return "", fmt.Errorf("%w: softhsm2-util is not in the search path: %s", ErrNotInstalled, howTo)
	}
	return path, nil
}
