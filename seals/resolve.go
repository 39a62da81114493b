package seals

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealgate/sealgate/internal/secret"
)

// maxSecretFile bounds what "file://" reads: PINs, tokens and keys are far smaller, and a mistaken
// path may name a device or a disk image.
const maxSecretFile = 64 << 10

// ErrNoSecret is returned where "env://" or "file://" leads to nothing: a variable that is not set, a
// file that is missing, empty or not readable.
var ErrNoSecret = errors.New("no secret there")

type resolver func(value string, getenv func(string) string) (*secret.Bytes, error)

// ResolveSecret gives the secret that a configuration value stands for: "env://NAME" is an environment variable,
// "file://PATH" the content of a file without the newlines at its end, and anything else the value itself. What
// it finds is not resolved again. No error contains the secret.
func ResolveSecret(value string, getenv func(string) string) (*secret.Bytes, error) {
	b, err := resolve(value, getenv)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimRight(b, "\r\n")
	if len(trimmed) == 0 {
		clear(b)
		return nil, fmt.Errorf("%w: %s is empty", ErrNoSecret, place(value))
	}
	return secret.New(trimmed), nil
}

// ResolveRaw is [ResolveSecret] that keeps the newlines at a file's end: they may be bytes of a binary key.
func ResolveRaw(value string, getenv func(string) string) (*secret.Bytes, error) {
	b, err := resolve(value, getenv)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrNoSecret, place(value))
	}
	return secret.New(b), nil
}

func resolve(value string, getenv func(string) string) ([]byte, error) {
	if name, ok := strings.CutPrefix(value, "env://"); ok {
		if getenv == nil || getenv(name) == "" {
			return nil, fmt.Errorf("%w: environment variable %s is not set", ErrNoSecret, name)
		}
		return []byte(getenv(name)), nil
	}
	if path, ok := strings.CutPrefix(value, "file://"); ok {
		return readSecretFile(path)
	}
	return []byte(value), nil
}

func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSecret, err)
	}
	defer f.Close()
	// One buffer of the full size: growing would leave copies of the secret behind.
	buf := make([]byte, maxSecretFile+1)
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		clear(buf)
		return nil, fmt.Errorf("%w: file %s is larger than %d bytes", ErrNoSecret, path, maxSecretFile)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	default:
		clear(buf)
		return nil, fmt.Errorf("%w: %w", ErrNoSecret, err)
	}
	out := bytes.Clone(buf[:n])
	clear(buf)
	return out, nil
}

// place names where a value was looked for, without showing a value that is itself the secret.
func place(value string) string {
	if strings.HasPrefix(value, "env://") || strings.HasPrefix(value, "file://") {
		return value
	}
	return "the value"
}
