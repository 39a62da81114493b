// Package fresh reads a secret of a seal's configuration again when its file changes.
//
// It guarantees that a replaced file is read before the next use, and that the last secret stays in
// use while the file is missing, empty or unreadable.
package fresh

import (
	"os"
	"strings"
	"sync"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// Secret is a secret parameter: a value, env://NAME or file://PATH. It is safe for concurrent use.
type Secret struct {
	value  string // as configured
	path   string // of the file, "" where the value names none
	getenv func(string) string

	mu    sync.Mutex
	now   *secret.Bytes
	stamp os.FileInfo // of the file when it was last read
}

// New prepares a secret. It reads nothing.
func New(value string, getenv func(string) string) *Secret {
	t := &Secret{value: value, getenv: getenv}
	t.path, _ = strings.CutPrefix(value, "file://")
	if t.path == value {
		t.path = ""
	}
	return t
}

// Get returns the secret and whether it changed since the last call. It reads the file again where
// that has changed. It returns "" where no secret is configured.
func (t *Secret) Get() (value string, changed bool, err error) {
	if t.value == "" {
		return "", false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var stamp os.FileInfo
	if t.path != "" {
		if stamp, err = os.Stat(t.path); err == nil && t.now != nil && sameFile(stamp, t.stamp) {
			return string(t.now.Expose()), false, nil
		}
	} else if t.now != nil {
		return string(t.now.Expose()), false, nil
	}
	return t.read(stamp)
}

// Reread reads the file even where its time and size are unchanged, because file times are coarse.
func (t *Secret) Reread() (value string, changed bool, err error) {
	if t.path == "" {
		return "", false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp, _ := os.Stat(t.path)
	return t.read(stamp)
}

// read must be called with the lock held. Where the file cannot be read, it returns the last
// secret.
func (t *Secret) read(stamp os.FileInfo) (string, bool, error) {
	fresh, err := seals.ResolveSecret(t.value, t.getenv)
	if err != nil {
		if t.now != nil {
			return string(t.now.Expose()), false, nil
		}
		return "", false, seals.Fail(seals.Denied, err,
			"store the secret where the stanza points; it is read again at the next call")
	}
	t.stamp = stamp
	if t.now != nil && t.now.Equal(fresh) {
		fresh.Destroy()
		return string(t.now.Expose()), false, nil
	}
	t.now.Destroy()
	t.now = fresh
	return string(fresh.Expose()), true, nil
}

func sameFile(a, b os.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Close wipes the secret.
func (t *Secret) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Destroy()
	t.now = nil
}
