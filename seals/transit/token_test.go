package transit

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/seals"
)

func TestTokenOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	tok := newTokens("file://"+path, nil)
	if _, _, err := tok.get(); seals.ClassOf(err) != seals.Denied {
		t.Errorf("before the file is there: %v", err)
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
	expect("the first time", "one", true, tok.get)
	expect("again", "one", false, tok.get)
	write("three")
	expect("another", "three", true, tok.get)
	// The same length, and the same time as far as the file system can tell.
	stamp, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write("thref")
	if err := os.Chtimes(path, stamp.ModTime(), stamp.ModTime()); err != nil {
		t.Fatal(err)
	}
	expect("what looks the same", "three", false, tok.get)
	expect("after a refusal", "thref", true, tok.reread)
	write("")
	expect("an empty file leaves the old one", "thref", false, tok.get)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("a file that is gone leaves the old one", "thref", false, tok.get)
	write("last")
	expect("and one that is back", "last", true, tok.get)
	tok.close()
}

func TestTokenElsewhere(t *testing.T) {
	t.Parallel()
	env := newTokens("env://T", func(string) string { return "from env" })
	if got, changed, err := env.get(); got != "from env" || !changed || err != nil {
		t.Errorf("%q, %v, %v", got, changed, err)
	}
	if got, changed, err := newTokens("", nil).get(); got != "" || changed || err != nil {
		t.Errorf("no token: %q, %v, %v", got, changed, err)
	}
	if _, changed, err := newTokens("itself", nil).reread(); changed || err != nil {
		t.Errorf("a token of the stanza cannot change: %v, %v", changed, err)
	}
}

// lease is what the server would answer to one renewal.
type lease struct {
	left      time.Duration
	renewable bool
	err       error
}

// TestRenewal looks at when renewals come, in synthetic time.
func TestRenewal(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		answers []lease // the last one repeats
		during  time.Duration
		calls   [2]int // at least and at most
	}{
		"renewed in time":       {[]lease{{left: time.Hour, renewable: true}}, 10 * time.Hour, [2]int{13, 18}},
		"never where it cannot": {[]lease{{left: time.Hour}}, 100 * time.Hour, [2]int{1, 1}},
		"a root token":          {[]lease{{renewable: true}}, 100 * time.Hour, [2]int{1, 1}},
		"again after failures":  {[]lease{{err: down}}, time.Hour, [2]int{55, 70}},
		"well again":            {[]lease{{err: down}, {err: down}, {left: time.Hour}}, 100 * time.Hour, [2]int{3, 3}},
		"a very short lease":    {[]lease{{left: 2 * time.Second, renewable: true}}, time.Minute, [2]int{40, 70}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				r := &renewer{log: slog.New(slog.DiscardHandler), renew: func(context.Context) (time.Duration, bool, error) {
					a := c.answers[min(calls, len(c.answers)-1)]
					calls++
					return a.left, a.renewable, a.err
				}}
				r.kick()
				time.Sleep(c.during)
				synctest.Wait()
				if calls < c.calls[0] || calls > c.calls[1] {
					t.Errorf("%d renewals in %s, want %v", calls, c.during, c.calls)
				}
				before := calls
				r.kick() // another token is in use
				synctest.Wait()
				if calls != before+1 {
					t.Errorf("%d renewals of a token that was just replaced", calls-before)
				}
				r.close()
				r.kick()
				synctest.Wait()
			})
		})
	}
}
