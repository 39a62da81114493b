package userpass

import (
	"errors"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// TestNobodyTakesTheWorkOfSomebody: a name without a user is compared with a hash that bcrypt takes
// for one of the same cost.
func TestNobodyTakesTheWorkOfSomebody(t *testing.T) {
	t.Parallel()
	for _, cost := range []int{bcrypt.MinCost, cost} {
		store := inmem.New()
		made, err := Factory(Options{Cost: cost})(store, mount.Entry{})
		if err != nil {
			t.Fatal(err)
		}
		d := made.(*backend)
		err = bcrypt.CompareHashAndPassword(d.unknown, []byte("x"))
		if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("cost %d: %v", cost, err)
		}
		if c, err := bcrypt.Cost(d.unknown); err != nil || c != cost {
			t.Errorf("cost %d: %d, %v", cost, c, err)
		}
		_, err = d.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: "login/unknown",
			Data: map[string]any{"password": "x"}})
		if !errors.Is(err, mount.ErrCredentials) {
			t.Errorf("cost %d: %v", cost, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
