package softhsm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/secret"
)

// Token is a throw-away token.
type Token struct {
	Lib        string // the library's path
	Label      string
	Serial     string
	PIN        string // of the user
	SOPIN      string // of the security officer
	Dir        string // the folder of configuration and tokens
	ConfigPath string // for SOFTHSM2_CONF

	folder string // the token's own, below Dir/tokens
}

// TB is the part of *testing.T and *testing.B that New uses.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Environ returns the environment for a program that uses the token: SoftHSM's configuration and
// the variables of sealgate's pkcs11 seal.
func (k *Token) Environ() []string {
	return []string{
		"SOFTHSM2_CONF=" + k.ConfigPath,
		"SEALGATE_HSM_LIB=" + k.Lib,
		"SEALGATE_HSM_TOKEN_LABEL=" + k.Label,
		"SEALGATE_HSM_PIN=" + k.PIN,
	}
}

// Use selects the token's configuration for SoftHSM in this process. SoftHSM reads it at
// initialisation, so call Use before any code opens the library.
func (k *Token) Use() error { return os.Setenv("SOFTHSM2_CONF", k.ConfigPath) }

var errOtherConfig = errors.New("softhsm: this process uses another SoftHSM configuration: call Use first")

// Config returns the token's configuration for package hsm.
func (k *Token) Config() hsm.Config {
	return hsm.Config{Lib: k.Lib, TokenLabel: k.Label, TokenSerial: k.Serial, PIN: secret.Copy([]byte(k.PIN))}
}

// MakeKey generates a key on the token. If the label is in use, it becomes ambiguous. For a token
// of Init, call Use first.
func (k *Token) MakeKey(kind hsm.Kind, label string) error {
	if conf := os.Getenv("SOFTHSM2_CONF"); conf != k.ConfigPath {
		return errOtherConfig
	}
	cfg := k.Config()
	cfg.Isolation = hsm.InProcess // this process has the library loaded
	cfg.Deadline = patience       // an RSA key takes seconds
	t, err := hsm.New(cfg)
	if err != nil {
		return err
	}
	err = t.Generate(context.Background(), hsm.Template{Kind: kind, Label: label, Duplicate: true})
	return errors.Join(err, t.Close())
}

// Key is MakeKey for tests: an error fails the test. It returns the label.
func (k *Token) Key(t TB, kind hsm.Kind, label string) string {
	t.Helper()
	if err := k.MakeKey(kind, label); err != nil {
		t.Fatalf("softhsm: generating the key %s: %v", label, err)
	}
	return label
}

// Away removes the token from its slot: it moves the token's folder out of the token folder.
func (k *Token) Away() error { return k.move("tokens", "away") }

// Back undoes Away.
func (k *Token) Back() error { return k.move("away", "tokens") }

func (k *Token) move(from, to string) error {
	if err := os.MkdirAll(filepath.Join(k.Dir, to), 0o700); err != nil {
		return err
	}
	name := filepath.Base(k.folder)
	return os.Rename(filepath.Join(k.Dir, from, name), filepath.Join(k.Dir, to, name))
}

// prepare writes the configuration and makes the token folder.
func prepare(dir string) (conf string, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
		return "", err
	}
	conf = filepath.Join(dir, "softhsm2.conf")
	text := "directories.tokendir = " + filepath.Join(dir, "tokens") +
		"\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	return conf, os.WriteFile(conf, []byte(text), 0o600)
}

// folders lists the token folders below dir.
func folders(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "tokens"))
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names, nil
}

// settle finds the new token's folder and derives the serial number: SoftHSM names the folder by a
// UUID whose second half is the serial number.
func (k *Token) settle(before map[string]bool) error {
	after, err := folders(k.Dir)
	if err != nil {
		return err
	}
	for name := range after {
		if digits := strings.ReplaceAll(name, "-", ""); !before[name] && len(digits) == 32 {
			k.folder = filepath.Join(k.Dir, "tokens", name)
			k.Serial = digits[16:]
			return nil
		}
	}
	return fmt.Errorf("softhsm: %s has no new token", k.Dir)
}

// digits returns n random hexadecimal digits.
func digits(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)[:n]
}
