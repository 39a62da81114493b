package softhsm

import (
	"context"
	"errors"
	"fmt"
	"os"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Permit sets whether the keys with the label may encrypt and decrypt, as an administrator does to
// disable or enable a key.
func (k *Token) Permit(label string, allowed bool) error {
	return k.each(label, func(m ck.KeyMaker, o ck.Object) error {
		class, _ := o.Ulong(ck.AttrClass)
		if class == ck.ClassSecret {
			if err := m.Alter(o.Handle, ck.Bool(ck.AttrEncrypt, allowed)); err != nil {
				return err
			}
		}
		if class == ck.ClassPublic {
			return m.Alter(o.Handle, ck.Bool(ck.AttrEncrypt, allowed))
		}
		return m.Alter(o.Handle, ck.Bool(ck.AttrDecrypt, allowed))
	})
}

// Delete destroys the keys with the label.
func (k *Token) Delete(label string) error {
	return k.each(label, func(m ck.KeyMaker, o ck.Object) error { return m.Destroy(o.Handle) })
}

// each calls f for every object with the label.
func (k *Token) each(label string, f func(ck.KeyMaker, ck.Object) error) error {
	if conf := os.Getenv("SOFTHSM2_CONF"); conf != k.ConfigPath {
		return errOtherConfig
	}
	mod, err := ck.Acquire(k.Lib)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = k.within(ctx, mod, func(s ck.Session) error {
		objects, err := s.Find([]ck.Attribute{ck.String(ck.AttrLabel, label)}, []uint{ck.AttrClass}, 64)
		if err != nil {
			return err
		}
		if len(objects) == 0 {
			return fmt.Errorf("softhsm: the token has no key %q", label)
		}
		for _, o := range objects {
			if err := f(s.(ck.KeyMaker), o); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, mod.Release())
}

// within runs f in a new session that is logged in.
func (k *Token) within(ctx context.Context, mod *ck.Module, f func(ck.Session) error) error {
	generation, err := mod.Start(ctx)
	if err != nil {
		return err
	}
	if err := mod.Enter(ctx, generation); err != nil {
		return err
	}
	defer mod.Exit()
	slots, err := mod.Library().Slots()
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if slot.Serial != k.Serial {
			continue
		}
		s, err := mod.Library().Open(slot.ID, true)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Login(ck.User, []byte(k.PIN)); err != nil && !errors.Is(err, ck.AlreadyLoggedIn) {
			return err
		}
		return f(s)
	}
	return ck.TokenNotPresent
}
