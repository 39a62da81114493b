package hsm

import (
	"errors"
	"testing"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// TestInspectSendsNoPIN: Inspect reads the token's flags without a session and without a login.
func TestInspectSendsNoPIN(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.slots[0].Flags |= ck.TokenPINFinalTry
	tok := f.token(nil)
	defer shut(t, tok)
	for range 3 {
		info, err := tok.Inspect(t.Context())
		if err != nil || !info.PINFinalTry || info.PINLocked || info.Serial == "" {
			t.Errorf("%+v, %v", info, err)
		}
	}
	if f.counted("login") != 0 || f.counted("open") != 0 {
		t.Errorf("%d logins, %d sessions", f.counted("login"), f.counted("open"))
	}
	f.set(func() { f.slots = nil })
	if _, err := tok.Inspect(t.Context()); !errors.Is(err, ErrTokenNotFound) {
		t.Errorf("no token: %v", err)
	}
}
