package userpass

import (
	"context"
	"encoding/base32"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestCodes has the vectors of RFC 6238, appendix B, cut to six digits.
func TestCodes(t *testing.T) {
	t.Parallel()
	seed := "1234567890"
	for _, tc := range []struct {
		algorithm string
		size      int
		at        int64
		want      string
	}{
		{"SHA1", 20, 59, "287082"}, {"SHA1", 20, 1111111109, "081804"}, {"SHA1", 20, 1111111111, "050471"},
		{"SHA1", 20, 1234567890, "005924"}, {"SHA1", 20, 2000000000, "279037"}, {"SHA1", 20, 20000000000, "353130"},
		{"SHA256", 32, 59, "119246"}, {"SHA256", 32, 1111111109, "084774"}, {"SHA256", 32, 20000000000, "737706"},
		{"SHA512", 64, 59, "693936"}, {"SHA512", 64, 1111111109, "091201"}, {"SHA512", 64, 20000000000, "863826"},
	} {
		s := &totp{Algorithm: tc.algorithm, Secret: []byte(strings.Repeat(seed, 7)[:tc.size])}
		if got := s.code(uint64(tc.at) / 30); got != tc.want {
			t.Errorf("%s at %d: %s, want %s", tc.algorithm, tc.at, got, tc.want)
		}
	}
}

// bench is a mount with a user and a clock.
type bench struct {
	*testing.T
	backend mount.Backend
	seconds atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t}
	b.seconds.Store(1_800_000_000)
	made, err := Factory(Options{Cost: bcrypt.MinCost,
		Options: method.Options{Now: func() time.Time { return time.Unix(b.seconds.Load(), 0) }}})(store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	b.backend = made
	b.must(mount.Create, "users/ann", map[string]any{"password": "pw"})
	return b
}

func (b *bench) do(op mount.Operation, path string, data map[string]any) (*mount.Response, error) {
	return b.backend.Handle(context.Background(), &mount.Request{Operation: op, Path: path, Data: data})
}

func (b *bench) must(op mount.Operation, path string, data map[string]any) map[string]any {
	b.Helper()
	a, err := b.do(op, path, data)
	if err != nil {
		b.Fatalf("%s: %v", path, err)
	}
	if a == nil {
		return nil
	}
	shown, _ := a.Data.(map[string]any)
	return shown
}

// enrol enrols the user and returns what makes the codes, as an app reads it from the URL.
func (b *bench) enrol(data map[string]any) *totp {
	b.Helper()
	at, err := url.Parse(b.must(mount.Update, "users/ann/totp", data)["url"].(string))
	if err != nil || at.Scheme != "otpauth" || at.Host != "totp" || !strings.HasSuffix(at.Path, ":ann") {
		b.Fatalf("%v, %v", at, err)
	}
	q := at.Query()
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(q.Get("secret"))
	if err != nil || q.Get("digits") != "6" || q.Get("period") != "30" {
		b.Fatalf("%v, %v", q, err)
	}
	return &totp{Secret: secret, Algorithm: q.Get("algorithm")}
}

func (b *bench) now() uint64 { return uint64(b.seconds.Load()) / 30 }

func (b *bench) login(data map[string]any) bool {
	b.Helper()
	a, err := b.do(mount.Update, "login/ann", data)
	if err != nil && (!errors.Is(err, mount.ErrCredentials) || err.Error() != wrongPassword) {
		b.Fatalf("%v", err)
	}
	return err == nil && a.Login != nil
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(mount.Update, "users/ann", map[string]any{"totp_required": true})
	if b.login(map[string]any{"password": "pw"}) || b.login(map[string]any{"password": "pw", "totp": "000000"}) {
		t.Error("a user who needs a code and has no secret logs in")
	}
	for _, data := range []map[string]any{{}, {"algorithm": "sha256"}, {"algorithm": "SHA512", "issuer": "Example Corp"}} {
		app := b.enrol(data)
		b.seconds.Add(300)
		if b.login(map[string]any{"password": "pw"}) || b.login(map[string]any{"password": "no", "totp": app.code(b.now())}) {
			t.Error("one factor is enough")
		}
		if !b.login(map[string]any{"password": "pw", "totp": app.code(b.now())}) {
			t.Error("both factors are refused; a wrong password must not use up the code")
		}
		if b.login(map[string]any{"password": "pw", "otp": app.code(b.now())}) {
			t.Error("a code counts twice")
		}
		if b.login(map[string]any{"password": "pw", "otp": app.code(b.now() - 1)}) {
			t.Error("an older code than the last counts")
		}
		if !b.login(map[string]any{"password": "pw", "otp": app.code(b.now() + 1)}) {
			t.Error("the clock of the app may be 30 s ahead")
		}
		b.seconds.Add(300)
		if !b.login(map[string]any{"password": "pw", "otp": app.code(b.now() - 1)}) {
			t.Error("the clock of the app may be 30 s behind")
		}
		for _, wrong := range []string{app.code(b.now() - 2), app.code(b.now() + 2), "", "1", app.code(b.now()) + "0"} {
			if b.login(map[string]any{"password": "pw", "otp": wrong}) {
				t.Errorf("the code %q counts", wrong)
			}
		}
	}
	old := b.enrol(nil)
	b.enrol(nil)
	b.seconds.Add(300)
	if b.login(map[string]any{"password": "pw", "totp": old.code(b.now())}) {
		t.Error("a replaced secret counts")
	}
	b.must(mount.Update, "users/ann", map[string]any{"totp_required": false})
	if b.login(map[string]any{"password": "pw"}) {
		t.Error("the secret no longer counts when the flag is lifted")
	}
	b.must(mount.Delete, "users/ann/totp", nil)
	if !b.login(map[string]any{"password": "pw"}) {
		t.Error("a password is not enough although there is no second factor")
	}
}

// TestSecretIsShownOnce: neither the user nor the path of the factor shows the secret.
func TestSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.enrol(nil)
	user, factor := b.must(mount.Read, "users/ann", nil), b.must(mount.Read, "users/ann/totp", nil)
	if user["totp_enrolled"] != true || user["totp_required"] != false || factor["enrolled"] != true {
		t.Errorf("%v %v", user, factor)
	}
	for name, v := range factor {
		if name != "enrolled" && name != "totp_required" && name != "algorithm" && name != "digits" && name != "period" {
			t.Errorf("%s: %v", name, v)
		}
	}
	for what, data := range map[string]map[string]any{"none": nil, "ann": {"algorithm": "MD5"}, "ANN": {"issuer": "a:b"}} {
		if _, err := b.do(mount.Update, "users/"+what+"/totp", data); err == nil {
			t.Errorf("%s %v is accepted", what, data)
		}
	}
}

// TestOneCodeOneLogin: of many logins at the same moment with one code, one succeeds.
func TestOneCodeOneLogin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	app := b.enrol(nil)
	code := app.code(b.now())
	var in atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := b.do(mount.Update, "login/ann", map[string]any{"password": "pw", "totp": code}); err == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d logins with one code", in.Load())
	}
}
