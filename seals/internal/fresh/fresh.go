// Package fresh holds a secret of a seal's configuration as it is now: one that stands in a file may be replaced while the program runs.
//
// It guarantees that a file which was replaced is read before the next use, and that a file which is gone, empty or half there does
// not take away the secret that was read before.
package fresh

import (
	"os"
	"strings"
	"sync"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// Secret is a value of the configuration: itself, env://NAME or file://PATH. It is safe for concurrent use.
type Secret struct {
	value  string // as configured
	path   string // of the file, "" where the token stands elsewhere
	getenv func(string) string

	mu    sync.Mutex
	now   *secret.Bytes
	stamp os.FileInfo // of the file as it was last read
}

// New prepares a secret; nothing is read yet.
func New(value string, getenv func(string) string) *Secret {
	t := &Secret{value: value, getenv: getenv}
	t.path, _ = strings.CutPrefix(value, "file://")
	if t.path == value {
		t.path = ""
	}
	return t
}

// Get returns the secret, read again where its file has changed, and whether it is another one than before; "" where none is configured.
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

// Reread reads the file whether it seems to have changed or not: clocks and file systems are coarse.
func (t *Secret) Reread() (value string, changed bool, err error) {
	if t.path == "" {
		return "", false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp, _ := os.Stat(t.path)
	return t.read(stamp)
}

// read is called with the lock held. A file that cannot be read leaves the token that was read before.
func (t *Secret) read(stamp os.FileInfo) (string, bool, error) {
	fresh, err := seals.ResolveSecret(t.value, t.getenv)
	if err != nil {
		if t.now != nil {
			return string(t.now.Expose()), false, nil
		}
		return "", false, seals.Fail(seals.Denied, err, "put the secret where the stanza says; it is looked for at every call")
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

// Close forgets it.
func (t *Secret) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Destroy()
	t.now = nil
}
