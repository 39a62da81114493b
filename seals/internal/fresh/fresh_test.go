package fresh

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

func TestSecretInFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	tok := New("file://"+path, nil)
	if _, _, err := tok.Get(); seals.ClassOf(err) != seals.Denied {
		t.Errorf("before the file exists: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when, want string, wantChanged bool, get func() (string, bool, error)) {
		t.Helper()
		if got, changed, err := get(); got != want || changed != wantChanged || err != nil {
			t.Errorf("%s: %q, changed: %v, %v; want %q, %v", when, got, changed, err, want, wantChanged)
		}
	}
	write("one\n")
	expect("the first time", "one", true, tok.Get)
	expect("again", "one", false, tok.Get)
	write("three")
	expect("another", "three", true, tok.Get)
	// The same length, and the same time within the resolution of the file system.
	stamp, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write("thref")
	if err := os.Chtimes(path, stamp.ModTime(), stamp.ModTime()); err != nil {
		t.Fatal(err)
	}
	expect("what looks the same", "three", false, tok.Get)
	expect("after a refusal", "thref", true, tok.Reread)
	write("")
	expect("an empty file leaves the old one", "thref", false, tok.Get)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("a file that is gone leaves the old one", "thref", false, tok.Get)
	write("last")
	expect("and one that is back", "last", true, tok.Get)
	tok.Close()
}

func TestSecretInEnvironmentOrStanza(t *testing.T) {
	t.Parallel()
	env := New("env://T", func(string) string { return "from env" })
	if got, changed, err := env.Get(); got != "from env" || !changed || err != nil {
		t.Errorf("%q, %v, %v", got, changed, err)
	}
	if got, changed, err := New("", nil).Get(); got != "" || changed || err != nil {
		t.Errorf("no token: %q, %v, %v", got, changed, err)
	}
	if _, changed, err := New("itself", nil).Reread(); changed || err != nil {
		t.Errorf("a token of the stanza cannot change: %v, %v", changed, err)
	}
}
