package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealgate/sealgate/seals"
)

// maxPIN bounds what is read from a PIN's file.
const maxPIN = 4 << 10

// resolve reads a secret parameter: as it is, env://NAME, or file://PATH without its last line break. Errors never hold
// the value.
func resolve(value string, cfg seals.Config) ([]byte, error) {
	if name, ok := strings.CutPrefix(value, "env://"); ok {
		v := ""
		if cfg.Getenv != nil {
			v = cfg.Getenv(name)
		}
		if v == "" {
			return nil, fmt.Errorf("the environment variable %s is not set", name)
		}
		return []byte(v), nil
	}
	if path, ok := strings.CutPrefix(value, "file://"); ok {
		return readSecret(path, cfg)
	}
	return []byte(value), nil
}

func readSecret(path string, cfg seals.Config) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && info.Mode().IsRegular() && cfg.Log != nil {
		cfg.Log.Warn("the file with the HSM's PIN is open to other users of this machine; chmod 600 it",
			"seal", cfg.Name, "file", path, "mode", info.Mode().Perm().String())
	}
	b := make([]byte, maxPIN+1)
	n, err := io.ReadFull(f, b)
	switch {
	case err == nil:
		clear(b)
		return nil, fmt.Errorf("%s holds more than %d bytes, so it is not a PIN", path, maxPIN)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		clear(b)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pin := bytes.TrimRight(b[:n], "\r\n")
	if len(pin) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return pin, nil
}
