package hsm

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trip wraps and unwraps.
func trip(ctx context.Context, k *Key) error {
	sealed, err := k.Encrypt(ctx, []byte("value"), []byte("aad"))
	if err != nil {
		return err
	}
	plain, err := k.Decrypt(ctx, sealed, []byte("aad"))
	if err == nil && string(plain) != "value" {
		return errors.New("other bytes")
	}
	return err
}

func works(t *testing.T, k *Key) {
	t.Helper()
	if err := trip(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

func shut(t *testing.T, tok *Token) {
	t.Helper()
	if err := tok.Close(); err != nil {
		t.Error("Close:", err)
	}
}

func TestEachErrorRecoversAtItsLevel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                    string
		err                     error
		times                   int
		logins, restarts, opens int // what one failing call costs on top
	}{
		{"session lost", ck.SessionHandleInvalid, 1, 0, 0, 1},
		{"operation left over", ck.OperationActive, 1, 0, 0, 1},
		{"device error, once", ck.DeviceError, 1, 0, 0, 1},
		{"vendor's error, once", ck.CKR(0x80000042), 1, 0, 0, 1},
		{"device error, twice", ck.DeviceError, 2, 1, 0, 3},
		{"device error, until restarted", ck.DeviceRemoved, 3, 2, 1, 5},
		{"library not initialised", ck.NotInitialized, 1, 1, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			tok := f.token(nil)
			defer shut(t, tok)
			k := f.key(tok, nil)
			works(t, k)
			logins, restarts, opens := f.counted("login"), f.counted("finalize"), f.counted("open")
			f.set(func() { f.hook = once("encrypt", c.times, c.err) })
			works(t, k)
			if d := f.counted("login") - logins; d != c.logins {
				t.Errorf("%d logins, want %d", d, c.logins)
			}
			if d := f.counted("finalize") - restarts; d != c.restarts {
				t.Errorf("%d restarts, want %d", d, c.restarts)
			}
			if d := f.counted("open") - opens; d != c.opens {
				t.Errorf("%d sessions opened, want %d", d, c.opens)
			}
		})
	}
}

func TestRecoveryEnds(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	f.set(func() { f.hook = once("encrypt", -1, ck.DeviceError) })
	before := f.counted("encrypt")
	err := trip(t.Context(), k)
	if !errors.Is(err, ErrDevice) || !errors.Is(err, ck.DeviceError) {
		t.Fatalf("%v, want ErrDevice and the library's own", err)
	}
	if n := f.counted("encrypt") - before; n != 4 {
		t.Errorf("%d attempts, want one for each recovery level: 4", n)
	}
	f.set(func() { f.hook = nil })
	works(t, k)
}

func TestLogsInAgainWhenLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	f.set(func() { f.loggedIn = false })
	works(t, k)
	if n := f.counted("login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

func TestFindsTheTokenInAnotherSlot(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	f.set(func() {
		other := f.slots[0]
		other.Serial, other.Label = "s2", "else"
		f.slots = append(f.slots, other) // another token takes its slot's number
		f.slots[0].ID = 99
		f.hook = once("encrypt", 2, ck.DeviceError)
	})
	works(t, k)
	if info, err := tok.Info(t.Context()); err != nil || info.Slot != 99 || info.Serial != "s1" {
		t.Errorf("%+v, %v: want slot 99", info, err)
	}
}

func TestMissingKeyIsReportedAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	// As SoftHSM with its folder moved away and back: lookups succeed and find nothing until
	// C_Initialize.
	f.set(func() {
		objects := f.objects
		f.objects = map[uint]ck.Object{}
		f.hook = func(op string) error {
			if op == "initialize" {
				f.set(func() { f.objects = objects })
			}
			return nil
		}
	})
	if _, err := k.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.objects, f.hook = map[uint]ck.Object{}, nil })
	if _, err := k.Describe(t.Context()); !errors.Is(err, ErrKeyNotFound) || !strings.Contains(err.Error(), `"wrap"`) {
		t.Fatalf("%v, want ErrKeyNotFound that names it", err)
	}
}

func TestOneRestartForAll(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(func(c *Config) { c.Sessions = 8 })
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	f.set(func() {
		epoch := f.epoch
		f.hook = func(op string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.epoch == epoch && op != "initialize" {
				return ck.DeviceRemoved
			}
			return nil
		}
	})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if err := trip(t.Context(), k); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.counted("initialize"); n != 2 {
		t.Errorf("%d initialisations, want 2", n)
	}
}

func TestWrongPINIsSentOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(func(c *Config) { c.PIN = secret.Copy([]byte("wrong")) })
	defer shut(t, tok)
	k := f.key(tok, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 4 {
				err := trip(t.Context(), k)
				if !errors.Is(err, ErrPIN) || strings.Contains(err.Error(), "wrong") {
					t.Errorf("%v, want ErrPIN without the PIN", err)
				}
			}
		})
	}
	wg.Wait()
	if n, s := f.counted("login"), tok.Stats().Logins; n != 1 || s != 1 {
		t.Errorf("%d logins, %d by Stats: want one", n, s)
	}
}

func TestPINFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flag  uint
		allow bool
		want  error
	}{
		{"locked", ck.TokenPINLocked, false, ErrPINLocked},
		{"final try", ck.TokenPINFinalTry, false, ErrPINFinalTry},
		{"final try, allowed", ck.TokenPINFinalTry, true, nil},
		{"count low", ck.TokenPINCountLow, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.slots[0].Flags |= c.flag
			tok := f.token(func(cfg *Config) { cfg.FinalTry = c.allow })
			defer shut(t, tok)
			if err := trip(t.Context(), f.key(tok, nil)); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if n := f.counted("login"); c.want != nil && n != 0 {
				t.Errorf("%d logins", n)
			}
		})
	}
	t.Run("none given", func(t *testing.T) {
		t.Parallel()
		f := newFake(t)
		tok := f.token(func(cfg *Config) { cfg.PIN = nil })
		defer shut(t, tok)
		if err := trip(t.Context(), f.key(tok, nil)); !errors.Is(err, ErrPINUnset) || f.counted("login") != 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestTokenSelection(t *testing.T) {
	t.Parallel()
	slot := func(n uint) *uint { return &n }
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   error
		text   string
	}{
		{"unknown label lists those that exist", func(c *Config) { c.TokenLabel = "nope" }, ErrTokenNotFound,
			`"tok" (serial s1, slot 7)`},
		{"two of one label", func(c *Config) { c.TokenLabel = "twin" }, ErrTokenAmbiguous, "s2, s3"},
		{"the serial number selects one of two tokens",
			func(c *Config) { c.TokenLabel, c.TokenSerial = "twin", "s3" }, nil,
			""},
		{"the slot selects one of two tokens", func(c *Config) { c.TokenLabel, c.Slot = "twin", slot(8) }, nil, ""},
		{"slot alone", func(c *Config) { c.TokenLabel, c.Slot = "", slot(7) }, nil, ""},
		{"slot of another label", func(c *Config) { c.Slot = slot(8) }, ErrTokenNotFound, "slot 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			for i, serial := range []string{"s2", "s3"} {
				s := f.slots[0]
				s.ID, s.Label, s.Serial = uint(8+i), "twin", serial
				f.slots = append(f.slots, s)
			}
			tok := f.token(c.change)
			defer shut(t, tok)
			err := trip(t.Context(), f.key(tok, nil))
			if !errors.Is(err, c.want) || c.text != "" && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %s", err, c.want, c.text)
			}
		})
	}
}

// hang makes calls of op block until the returned function is called.
func (f *fake) hang(op string) (release func()) {
	opened := make(chan struct{})
	f.set(func() {
		f.hook = func(got string) error {
			if got == op {
				<-opened
			}
			return nil
		}
	})
	return func() {
		f.set(func() { f.hook = nil })
		close(opened)
	}
}

func TestHangCostsTheDeadlineAndASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		tok := f.token(nil)
		k := f.key(tok, nil)
		works(t, k)
		release := f.hang("encrypt")
		for i := range 4 {
			start := time.Now()
			if err := trip(t.Context(), k); !errors.Is(err, ErrDeadline) || time.Since(start) != 5*time.Second {
				t.Fatalf("call %d: %v after %s", i, err, time.Since(start))
			}
			if s := tok.Stats().Stuck; s != i+1 {
				t.Fatalf("%d stuck, want %d", s, i+1)
			}
		}
		start := time.Now()
		if err := trip(t.Context(), k); !errors.Is(err, ErrStuck) || time.Since(start) != 0 {
			t.Fatalf("%v after %s: want ErrStuck at once", err, time.Since(start))
		}
		// No restart runs while calls are inside.
		if _, err := tok.mod.Restart(t.Context(), tok.mod.Generation()); !errors.Is(err, ErrStuck) {
			t.Fatalf("Restart: %v", err)
		}
		release()
		synctest.Wait()
		if s := tok.Stats(); s.Stuck != 0 {
			t.Fatalf("%+v after the calls came back", s)
		}
		works(t, k)
		shut(t, tok)
	})
}

func TestHangingLoginCostsTheDeadline(t *testing.T) {
	for _, op := range []string{"slots", "open", "login", "initialize", "find", "mechanism"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				tok := f.token(nil)
				k := f.key(tok, nil)
				release := f.hang(op)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						start := time.Now()
						if err := trip(t.Context(), k); !errors.Is(err, ErrDeadline) ||
							time.Since(start) != 5*time.Second {
							t.Errorf("%v after %s", err, time.Since(start))
						}
					})
				}
				wg.Wait()
				release()
				synctest.Wait()
				works(t, k)
				if n := f.counted("login"); n != 1 {
					t.Errorf("%d logins", n)
				}
				shut(t, tok)
			})
		})
	}
}

func TestCancelledCallReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		tok := f.token(nil)
		k := f.key(tok, nil)
		works(t, k)
		release := f.hang("encrypt")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := trip(ctx, k); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		release()
		synctest.Wait()
		works(t, k)
		shut(t, tok)
	})
}

func TestCloseWhileACallHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		tok := f.token(nil)
		k := f.key(tok, nil)
		works(t, k)
		release := f.hang("encrypt")
		if err := trip(t.Context(), k); !errors.Is(err, ErrDeadline) {
			t.Fatal(err)
		}
		if err := tok.Close(); !errors.Is(err, ErrStuck) {
			t.Errorf("Close: %v, want ErrStuck", err)
		}
		if err := trip(t.Context(), k); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		release()
	})
}

// TestCloseWhileACallReturns: Close waits for an abandoned call that returns, and no longer than
// that.
func TestCloseWhileACallReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		tok := f.token(nil)
		k := f.key(tok, nil)
		works(t, k)
		release := f.hang("encrypt")
		if err := trip(t.Context(), k); !errors.Is(err, ErrDeadline) {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(time.Second, release)
		if err := tok.Close(); err != nil || time.Since(start) != time.Second {
			t.Errorf("Close: %v after %s; want none, when the call came back", err, time.Since(start))
		}
	})
}

func TestPanicIsAnErrorOfOneCall(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"encrypt", "find", "slots", "login", "initialize"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			tok := f.token(nil)
			defer shut(t, tok)
			k := f.key(tok, nil)
			f.set(func() {
				f.hook = func(got string) error {
					if got == op {
						panic("bug in the binding")
					}
					return nil
				}
			})
			if err := trip(t.Context(), k); !errors.Is(err, ErrDevice) ||
				!strings.Contains(err.Error(), "bug in the binding") {
				t.Errorf("%v", err)
			}
			f.set(func() { f.hook = nil })
			works(t, k)
		})
	}
}

func TestSessionsStayBelowTheTokensLimit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.slots[0].MaxSessions = 3
	tok := f.token(func(c *Config) { c.Sessions = 8 })
	defer shut(t, tok)
	k := f.key(tok, nil)
	works(t, k)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if err := trip(t.Context(), k); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.set(func() {
		if f.most > 3 {
			t.Errorf("%d sessions at once, 3 are allowed", f.most)
		}
	})
}

func TestNoSessionLeft(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	k := f.key(tok, nil)
	f.set(func() { f.hook = once("open", -1, ck.SessionCount) })
	if err := trip(t.Context(), k); !errors.Is(err, ErrSessions) || f.counted("initialize") != 1 {
		t.Errorf("%v with %d initialisations: want ErrSessions, and no restart for it", err, f.counted("initialize"))
	}
}

func TestTwoTokensOfOneLibrary(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	mod := ck.NewModule(f)
	a := f.token(func(c *Config) { c.module = mod })
	b := f.token(func(c *Config) { c.module = mod })
	ka, kb := f.key(a, nil), f.key(b, nil)
	works(t, ka)
	works(t, kb)
	f.set(func() { f.hook = once("encrypt", 3, ck.DeviceRemoved) })
	works(t, ka) // restarts the library under b
	works(t, kb)
	shut(t, a)
	works(t, kb)
	if n := f.counted("finalize"); n != 1 {
		t.Errorf("%d times finalized while b was open, want the one restart", n)
	}
	shut(t, b)
	if n := f.counted("finalize"); n != 2 {
		t.Errorf("%d times finalized in the end, want 2", n)
	}
}
