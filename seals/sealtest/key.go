package sealtest

import (
	"errors"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// Values of KeyState.State.
const (
	stateEnabled  = "enabled"
	stateDisabled = "disabled"
	statePending  = "pending deletion"
)

// describe returns the state of the key, nil where the provider is not a Describer.
func describe(t *testing.T, w wrapping.Wrapper) *seals.KeyState {
	t.Helper()
	d, ok := w.(seals.Describer)
	if !ok {
		return nil
	}
	state, err := d.Describe(within(t, patience))
	if err != nil {
		t.Errorf("Describe: %v", err)
		return nil
	}
	return &state
}

// checkState compares the state of the key where the provider is a Describer.
func checkState(t *testing.T, when string, w wrapping.Wrapper, want string) {
	t.Helper()
	state := describe(t, w)
	if state == nil {
		return
	}
	if state.State != want {
		t.Errorf("%s: Describe returns %q, want %q", when, state.State, want)
	}
	switch pending := want == statePending; {
	case pending && !state.DeletionDate.After(time.Now()):
		t.Errorf("%s: the deletion date is %v, want one in the future", when, state.DeletionDate)
	case !pending && !state.DeletionDate.IsZero():
		t.Errorf("%s: the deletion date is %v, want none", when, state.DeletionDate)
	}
}

func keyState(t *testing.T, _ Harness, f *Fixture) {
	checkState(t, "of a key in use", f.Wrapper, stateEnabled)
	state := describe(t, f.Wrapper)
	if state == nil {
		return
	}
	if id := keyIDOf(t, f.Wrapper); state.ID != id {
		t.Errorf("Describe returns key %q, KeyId %q", state.ID, id)
	}
	if v, ok := f.Wrapper.(seals.Versioned); ok {
		if version, err := v.KeyVersion(within(t, patience)); err != nil || version != state.Version {
			t.Errorf("Describe returns version %q, KeyVersion %q, %v", state.Version, version, err)
		}
	}
}

func disabled(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Disable()
	both(t, "key disabled", f, blob, plain, h.classes("Disable", seals.KeyDisabled)...)
	checkState(t, "after the key was disabled", f.Wrapper, stateDisabled)
	if f.Enable != nil {
		f.Enable()
		decrypt(t, f.Wrapper, blob, plain)
		checkState(t, "after the key was enabled again", f.Wrapper, stateEnabled)
	}
}

func scheduled(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Schedule()
	both(t, "key scheduled for destruction", f, blob, plain, h.classes("Schedule", seals.PendingDeletion)...)
	checkState(t, "after the key was scheduled for destruction", f.Wrapper, statePending)
	if f.Unschedule != nil {
		f.Unschedule()
		decrypt(t, f.Wrapper, blob, plain)
		decrypt(t, f.Wrapper, encrypt(t, f.Wrapper, plain), plain)
		checkState(t, "after its destruction was cancelled", f.Wrapper, stateEnabled)
	}
}

func destroyed(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Destroy()
	both(t, "key destroyed", f, blob, plain, h.classes("Destroy", seals.KeyGone)...)
}

// rotated checks that blobs of the old version still decrypt, and that another version wraps now.
func rotated(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	old := encrypt(t, f.Wrapper, plain)
	before := versionOf(t, f.Wrapper)
	f.Rotate()
	decrypt(t, f.Wrapper, old, plain)
	fresh := encrypt(t, f.Wrapper, plain)
	decrypt(t, f.Wrapper, fresh, plain)
	after := versionOf(t, f.Wrapper)
	if after == before {
		t.Errorf("the key was rotated, and its version is still %q", after)
	}
	decrypt(t, f.Wrapper, old, plain)
	if again := versionOf(t, f.Wrapper); again != after {
		t.Errorf("the version was %q, and is %q after an old blob was decrypted", after, again)
	}
	if state := describe(t, f.Wrapper); state != nil && state.Latest != "" && state.Latest != after {
		t.Errorf("Describe returns newest version %q, and %q wraps", state.Latest, after)
	}
}

// versionOf returns the key's version, the key's id where the provider is not Versioned.
func versionOf(t *testing.T, w wrapping.Wrapper) string {
	t.Helper()
	v, ok := w.(seals.Versioned)
	if !ok {
		return keyIDOf(t, w)
	}
	version, err := v.KeyVersion(within(t, patience))
	if err != nil || version == "" {
		t.Fatalf("KeyVersion is %q, %v", version, err)
	}
	return version
}

func expired(t *testing.T, h Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	f.Expire()
	_, err := f.Wrapper.Decrypt(within(t, patience), blob, wrapping.WithAad(aad))
	if err == nil {
		t.Fatal("Decrypt worked with credentials that have expired")
	}
	checkFailure(t, "credentials expired", err, plain, h.classes("Expire", seals.Denied)...)
	if _, err := f.Wrapper.Encrypt(within(t, patience), plain, wrapping.WithAad(aad)); err == nil {
		t.Error("Encrypt worked with credentials that have expired")
	} else {
		checkFailure(t, "Encrypt, credentials expired", err, plain, h.classes("Expire", seals.Denied)...)
	}
	if f.Renew == nil {
		return
	}
	f.Renew()
	var failure *seals.Failure
	if errors.As(err, &failure) && failure.Final {
		return // only a new configuration helps
	}
	decrypt(t, f.Wrapper, blob, plain)
}
