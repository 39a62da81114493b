package userpass

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestPasswordsUnderFIPS: new passwords are kept by PBKDF2, those of bcrypt no longer log in, and
// what was made under FIPS continues to work without it.
func TestPasswordsUnderFIPS(t *testing.T) {
	store := inmem.New()
	defer store.Close()
	made, err := Factory(Options{Cost: bcrypt.MinCost})(store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	d := made.(*backend)
	handle := func(path string, data map[string]any) error {
		_, err := d.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: path, Data: data})
		return err
	}
	login := func(name, password string) error {
		return handle("login/"+name, map[string]any{"password": password})
	}
	if err := handle("users/old", map[string]any{"password": "swordfish"}); err != nil {
		t.Fatal(err)
	}
	end := fips.Simulate()
	defer end()
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	err = handle("users/new", map[string]any{"password_hash": string(hash)})
	if err == nil || !strings.Contains(err.Error(), "FIPS 140-3") {
		t.Errorf("password_hash: %v; want a refusal by name", err)
	}
	if err := handle("users/new", map[string]any{"password": "tigerfish"}); err != nil {
		t.Fatal(err)
	}
	u, err := method.Load[user](t.Context(), store, userPrefix+"new")
	if err != nil || !bytes.HasPrefix(u.Hash, []byte(pbkdf2Prefix)) {
		t.Fatalf("%+v, %v; want a hash of PBKDF2", u, err)
	}
	for _, c := range []struct {
		name, password string
		ok             bool
	}{
		{"new", "tigerfish", true}, {"new", "swordfish", false}, {"new", strings.Repeat("x", longestPBKDF2+1), false},
		{"old", "swordfish", false}, {"unknown", "tigerfish", false},
	} {
		if err := login(c.name, c.password); (err == nil) != c.ok || err != nil && !errors.Is(err, mount.ErrCredentials) {
			t.Errorf("%s: %v; want success: %v", c.name, err, c.ok)
		}
	}
	end()
	for name, password := range map[string]string{"new": "tigerfish", "old": "swordfish"} {
		if err := login(name, password); err != nil {
			t.Errorf("%s without FIPS: %v", name, err)
		}
	}
}

func TestDamagedPBKDF2(t *testing.T) {
	good, err := newPBKDF2("password")
	if err != nil || !matches(good, "password") {
		t.Fatalf("%s, %v", good, err)
	}
	text := string(good)
	for _, bad := range []string{
		pbkdf2Prefix, strings.Replace(text, "600000", "0", 1), strings.Replace(text, "600000", "-1", 1),
		strings.Replace(text, "600000", "99999999999", 1), strings.Replace(text, "600000", "600001", 1), text + "$",
		text[:len(text)-1], strings.TrimSuffix(text, text[len(text)-43:]),
	} {
		if matches([]byte(bad), "password") {
			t.Errorf("%s has the password", bad)
		}
	}
}
