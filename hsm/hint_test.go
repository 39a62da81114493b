//go:build cgo && linux

package hsm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// TestSoftHSMConfigurationIsNamed: the library reports CKR_GENERAL_ERROR or no token for each of
// these.
func TestSoftHSMConfigurationIsNamed(t *testing.T) {
	lib, err := softhsm.Lib()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	empty := write("empty.conf", "objectstore.backend = file\n")
	lost := write("lost.conf", "directories.tokendir = "+dir+"/nowhere\n")
	good := write("good.conf", "directories.tokendir = "+dir+"/tokens\nobjectstore.backend = file\n")
	for name, c := range map[string]struct {
		conf  string
		paths []string
		want  string
	}{
		"no file":         {"/nope.conf", nil, "SOFTHSM2_CONF=/nope.conf does not exist"},
		"no token folder": {lost, nil, "directories.tokendir " + dir + "/nowhere (in " + lost + ") does not exist"},
		"not set":         {empty, nil, "sets no directories.tokendir"},
		"no token":        {good, nil, "SoftHSM uses directories.tokendir " + dir + "/tokens"},
		"outside":         {good, []string{"/var/tmp"}, "is not below allow_paths"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SOFTHSM2_CONF", c.conf)
			token, err := hsm.New(hsm.Config{Lib: lib, TokenLabel: "t", PIN: hsm.NewSecret([]byte("1234")),
				Paths: c.paths})
			if err != nil {
				t.Fatal(err)
			}
			defer token.Close()
			_, err = token.Info(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if err != nil && !errors.Is(err, hsm.ErrDevice) && !errors.Is(err, hsm.ErrTokenNotFound) {
				t.Errorf("%v: of another kind", err)
			}
		})
	}
}
