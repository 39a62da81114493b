package hsm

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// explain adds to an error of C_Initialize what its return value means.
func (t *Token) explain(err error) error {
	if errors.Is(err, ck.ArgumentsBad) {
		return fmt.Errorf("%w: %w: the library needs parameters of its own to start (as NSS's softokn3 does); "+
			"use it through p11-kit, or use another library", ErrConfig, err)
	}
	var rv ck.CKR
	if hint := softHSMHint(t.cfg.Lib, t.cfg.Paths); hint != "" && errors.As(err, &rv) {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}

// softHSMHint names what is wrong with SoftHSM's configuration, of which the library reports
// CKR_GENERAL_ERROR or an empty list of slots only; or the configuration that it uses. It is "" for
// other libraries.
func softHSMHint(lib string, allowed []string) string {
	if !strings.HasPrefix(filepath.Base(lib), "libsofthsm2") {
		return ""
	}
	conf, from := softHSMConfig()
	if conf == "" {
		return "SoftHSM has no configuration: set SOFTHSM2_CONF"
	}
	dir, err := tokenDir(conf)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s%s does not exist", from, conf)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s%s cannot be read by uid %d", from, conf, os.Getuid())
	case err != nil || dir == "":
		return fmt.Sprintf("%s%s sets no directories.tokendir", from, conf)
	}
	where := fmt.Sprintf("directories.tokendir %s (in %s)", dir, conf)
	_, err = os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return where + " does not exist"
	case err != nil:
		return fmt.Sprintf("%s cannot be read by uid %d", where, os.Getuid())
	case allowed != nil && !below(dir, allowed):
		return where + " is not below allow_paths"
	}
	return "SoftHSM uses " + where
}

// softHSMConfig returns the path of SoftHSM's configuration, and a prefix that says where it comes
// from.
func softHSMConfig() (path, from string) {
	if conf := os.Getenv("SOFTHSM2_CONF"); conf != "" {
		return conf, "SOFTHSM2_CONF="
	}
	places := []string{"/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf", "/usr/local/etc/softhsm2.conf"}
	if home, err := os.UserHomeDir(); err == nil {
		places = append([]string{filepath.Join(home, ".config", "softhsm2", "softhsm2.conf")}, places...)
	}
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p, ""
		}
	}
	return "", ""
}

// tokenDir reads directories.tokendir.
func tokenDir(conf string) (string, error) {
	f, err := os.Open(conf)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		if strings.TrimSpace(name) == "directories.tokendir" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", nil
}

func below(dir string, allowed []string) bool {
	for _, a := range allowed {
		if rel, err := filepath.Rel(a, dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}
