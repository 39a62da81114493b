package transit

import (
	"os"
	"strings"
	"sync"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// tokens gives the token as it is now: one in a file may be replaced at any time.
type tokens struct {
	value  string // as configured
	path   string // of the file, "" where the token stands elsewhere
	getenv func(string) string

	mu    sync.Mutex
	now   *secret.Bytes
	stamp os.FileInfo // of the file as it was last read
}

func newTokens(value string, getenv func(string) string) *tokens {
	t := &tokens{value: value, getenv: getenv}
	t.path, _ = strings.CutPrefix(value, "file://")
	if t.path == value {
		t.path = ""
	}
	return t
}

// get returns the token, read again where its file has changed, and whether it is another one than before. "" is no token: an agent between
// here and the server may add one.
func (t *tokens) get() (token string, changed bool, err error) {
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

// reread reads the file whether it seems to have changed or not: clocks and file systems are coarse.
func (t *tokens) reread() (token string, changed bool, err error) {
	if t.path == "" {
		return "", false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp, _ := os.Stat(t.path)
	return t.read(stamp)
}

// read is called with the lock held. A file that cannot be read leaves the token that was read before.
func (t *tokens) read(stamp os.FileInfo) (string, bool, error) {
	fresh, err := seals.ResolveSecret(t.value, t.getenv)
	if err != nil {
		if t.now != nil {
			return string(t.now.Expose()), false, nil
		}
		return "", false, seals.Fail(seals.Denied, err, "put a token where the stanza's token says; it is looked for at every call")
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

func (t *tokens) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Destroy()
	t.now = nil
}
