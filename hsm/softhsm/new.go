package softhsm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// shared is this process's SoftHSM configuration. It is global because SOFTHSM2_CONF is.
var shared struct {
	sync.Mutex
	users int
	dir   string // made at first use; the name stays, because parallel code may have read it
}

// New creates a token in this process's shared token folder and deletes it when the test ends.
func New(t TB) *Token {
	t.Helper()
	return NewLabelled(t, "sealgate-"+digits(8))
}

// NewLabelled is New with the caller's label, which other tokens may share.
func NewLabelled(t TB, label string) *Token {
	t.Helper()
	k, drop, err := create(label)
	if err != nil {
		t.Fatalf("softhsm: %v", err)
	}
	t.Cleanup(drop)
	return k
}

func create(label string) (_ *Token, drop func(), err error) {
	lib, err := Lib()
	if err != nil {
		return nil, nil, err
	}
	mod, err := ck.Acquire(lib)
	if err != nil {
		return nil, nil, err
	}
	shared.Lock()
	defer shared.Unlock()
	k := &Token{Lib: lib, Label: label, PIN: digits(12), SOPIN: digits(12)}
	if err := enterShared(mod, k); err != nil {
		return nil, nil, errors.Join(err, mod.Release())
	}
	drop = func() { k.drop(mod) }
	if err := k.initialise(mod); err != nil {
		shared.Unlock()
		drop()
		shared.Lock()
		return nil, nil, err
	}
	return k, drop, nil
}

// patience bounds what makes a token or a key, on a busy machine.
const patience = 2 * time.Minute

// enterShared adds a user of the shared folder. The first user makes it and restarts the library
// with its configuration.
func enterShared(mod *ck.Module, k *Token) (err error) {
	if shared.users == 0 {
		if shared.dir == "" {
			if shared.dir, err = os.MkdirTemp("", "sealgate-softhsm-"); err != nil {
				return err
			}
		}
		conf, err := prepare(shared.dir)
		if err != nil {
			return err
		}
		if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := mod.Restart(ctx, mod.Generation()); err != nil {
			return err
		}
	}
	shared.users++
	k.Dir, k.ConfigPath = shared.dir, filepath.Join(shared.dir, "softhsm2.conf")
	return nil
}

// initialise initialises the token in the library's free slot. It runs in this process, because a
// running library does not notice a token that softhsm2-util makes in another.
func (k *Token) initialise(mod *ck.Module) error {
	before, err := folders(k.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lib, ok := mod.Library().(ck.Initializer)
	if !ok {
		return ck.FunctionNotSupported
	}
	generation, err := mod.Start(ctx)
	if err != nil {
		return err
	}
	if err := mod.Enter(ctx, generation); err != nil {
		return err
	}
	defer mod.Exit()
	slot, err := lib.FreeSlot()
	if err != nil {
		return err
	}
	if err := lib.InitToken(slot, []byte(k.SOPIN), k.Label); err != nil {
		return err
	}
	if err := k.settle(before); err != nil {
		return err
	}
	slots, err := mod.Library().Slots()
	if err != nil {
		return err
	}
	for _, s := range slots {
		if s.Serial == k.Serial {
			return lib.InitPIN(s.ID, []byte(k.SOPIN), []byte(k.PIN))
		}
	}
	return ck.TokenNotPresent
}

// drop deletes the token. The last drop deletes the shared folder.
func (k *Token) drop(mod *ck.Module) {
	shared.Lock()
	defer shared.Unlock()
	for _, place := range []string{"tokens", "away"} {
		if k.folder != "" {
			_ = os.RemoveAll(filepath.Join(k.Dir, place, filepath.Base(k.folder)))
		}
	}
	_ = mod.Release() // the test that left calls stuck reports them
	if shared.users--; shared.users == 0 {
		_ = os.RemoveAll(shared.dir)
	}
}
