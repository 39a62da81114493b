package hsm

import (
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// login logs in on a session of the slot. The caller keeps an error about the PIN and never sends
// that PIN again.
func (t *Token) login(s ck.Session, slot ck.Slot) error {
	if slot.Flags&ck.TokenLoginRequired == 0 {
		return nil
	}
	keypad := slot.Flags&ck.TokenProtectedPath != 0
	name := fmt.Sprintf("token %q (serial %s)", slot.Label, slot.Serial)
	switch {
	case slot.Flags&ck.TokenPINLocked != 0:
		return fmt.Errorf("%w: %s reports it before any login", ErrPINLocked, name)
	case slot.Flags&ck.TokenPINFinalTry != 0 && !t.cfg.FinalTry:
		return fmt.Errorf("%w: %s", ErrPINFinalTry, name)
	case slot.Flags&ck.TokenPINInitialized == 0:
		return fmt.Errorf("%w: the user PIN of %s was never set", ErrPINUnset, name)
	case t.pin.len() == 0 && !keypad:
		return fmt.Errorf("%w: %s needs one, and none is configured", ErrPINUnset, name)
	}
	t.mu.Lock()
	t.stats.Logins++
	t.mu.Unlock()
	err := s.Login(ck.User, t.pin.own.Expose())
	var code ck.CKR
	switch errors.As(err, &code); {
	case err == nil, code == ck.AlreadyLoggedIn:
		t.warn(slot)
		return nil
	case code == ck.PINIncorrect, code == ck.PINInvalid, code == ck.PINLenRange, code == ck.PINExpired:
		return fmt.Errorf("%w: %s answers %w", ErrPIN, name, err)
	case code == ck.PINLocked:
		return fmt.Errorf("%w: %s answers %w", ErrPINLocked, name, err)
	case code == ck.PINNotInitialized:
		return fmt.Errorf("%w: %s answers %w", ErrPINUnset, name, err)
	}
	return fmt.Errorf("login to %s: %w", name, err)
}

// Succeed copies the PIN's state from the Token that this one replaces. A PIN that the token
// refused is not sent again because a reload made a new Token with the same PIN. A locked PIN is
// tried again: that costs no try.
func (t *Token) Succeed(old *Token) {
	old.mu.Lock()
	refused, same := old.refused, !old.closed && old.pin.equal(t.pin) && old.names() == t.names()
	old.mu.Unlock()
	if !same || !errors.Is(refused, ErrPIN) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = refused
}

// names identifies the configured token and library.
func (t *Token) names() string {
	slot := "any"
	if t.cfg.Slot != nil {
		slot = fmt.Sprint(*t.cfg.Slot)
	}
	return fmt.Sprintf("%q %q %q %s", t.cfg.Lib, t.cfg.TokenLabel, t.cfg.TokenSerial, slot)
}

// warn logs what an operator should know about the PIN. The flags are from before the login, which
// resets the token's counter.
func (t *Token) warn(slot ck.Slot) {
	if slot.Flags&(ck.TokenPINCountLow|ck.TokenPINFinalTry) != 0 {
		t.cfg.Log.Warn("a wrong PIN was sent to the HSM token since the last login", "token", slot.Label, "serial",
			slot.Serial)
	}
	if slot.Flags&ck.TokenPINToBeChanged != 0 {
		t.cfg.Log.Warn("the HSM token asks for a new PIN; change it with the vendor's tools", "token", slot.Label,
			"serial", slot.Serial)
	}
}
