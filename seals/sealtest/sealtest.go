// Package sealtest tests providers of seals, and programs that depend on them.
//
// [Run] is the conformance suite: what package seals, and anyone else who takes a wrapping.Wrapper, may
// rely on. A provider that passes it returns what it was given; keeps to the context; refuses a blob that was changed, moved
// to other additional data, or wrapped by another key, with the right [seals.Class]; never panics on bad input; and shows
// no plaintext in an error.
//
// [Faulty] is a wrapper that misbehaves on demand: errors by class, delays, hangs, damaged bytes.
//
// The package is for tests alone and is never linked into the program.
package sealtest

import (
	"reflect"
	"slices"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// Harness describes a provider to the suite.
type Harness struct {
	// New makes a fixture for one test, with keys and peers of its own. What it opens it closes by t.Cleanup.
	New func(t *testing.T) *Fixture
	// Without says for each hook of Fixture that is nil, by its name, why this provider has no such thing. A nil hook
	// without a reason fails, and so does a reason for a hook that is there.
	Without map[string]string
	// Also accepts, for a hook by its name, one class beside the one that the suite asks for: where the peer gives two
	// causes the same answer.
	Also map[string]seals.Class
	// Stride tries every Stride-th byte of a blob instead of each: for peers that take long. 0 is 1.
	Stride int
	// Goroutines work at once in the test of concurrency. 0 is 64.
	Goroutines int
}

// Fixture is one wrapper on a key, and what its peer - the device or service behind it - can be made to do. A hook
// that is nil leaves out the tests that need it. Every fixture of a harness has the same hooks.
type Fixture struct {
	Wrapper wrapping.Wrapper
	// Other is on another key, of the same kind and peer.
	Other wrapping.Wrapper
	// Again makes a second wrapper on the same key, as after a restart.
	Again func() wrapping.Wrapper

	// Unresponsive makes the peer accept calls and not answer them until restore is called.
	Unresponsive func() (restore func())
	// Away makes the peer refuse connections, or vanish, until restore is called.
	Away func() (restore func())
	// Disable switches the key off; Enable on again.
	Disable, Enable func()
	// Schedule marks the key for destruction at a later date; Unschedule takes that back, and Encrypt works again.
	Schedule, Unschedule func()
	// Destroy destroys the key at once.
	Destroy func()
	// Rotate gives the key a new version, which Encrypt uses from then on.
	Rotate func()
	// Deny takes the permission to use the key from good credentials until restore is called.
	Deny func() (restore func())
	// Expire makes the wrapper's credentials useless; Renew puts good ones where the wrapper finds them.
	Expire, Renew func()
	// Throttle makes the peer ask for patience until restore is called.
	Throttle func() (restore func())
	// Garble makes the peer damage what it answers until restore is called: well-formed, and other bytes.
	Garble func() (restore func())
	// Calls is how many requests the peer has been sent so far.
	Calls func() int
}

// Run runs the suite. The test that calls it must not be parallel: one part looks for goroutines that were left behind.
func Run(t *testing.T, h Harness) {
	var has *Fixture
	t.Run("fixture", func(t *testing.T) {
		f := h.New(t)
		h.checkHooks(t, f)
		has = f
	})
	if has == nil {
		t.Fatal("the harness makes no fixture")
	}
	binds := true
	if b, ok := has.Wrapper.(seals.Binder); ok {
		binds = b.BindsAAD()
	}
	_, people := has.Wrapper.(seals.Quorum)
	_, describes := has.Wrapper.(seals.Describer)
	for _, part := range []struct {
		name    string
		applies bool
		test    func(*testing.T, Harness, *Fixture)
	}{
		{"round trip", true, roundTrip},
		{"key id", true, keyID},
		{"key state", describes, keyState},
		{"after a restart", has.Again != nil, restart},
		{"concurrent", true, concurrent},
		{"cancelled", true, cancelled},
		{"additional data", binds, boundData},
		{"blob of another seal", binds && !people, otherSeal},
		{"flipped bytes", true, flipped},
		{"cut and empty blobs", true, truncated},
		{"blob of another key", has.Other != nil, otherKey},
		{"frugal probes", has.Calls != nil && !people, frugal},
		{"peer away", has.Away != nil, away},
		{"throttled", has.Throttle != nil, throttled},
		{"garbled answers", has.Garble != nil, garbled},
		{"permission taken", has.Deny != nil, forbidden},
		{"key disabled", has.Disable != nil, disabled},
		{"key scheduled for destruction", has.Schedule != nil, scheduled},
		{"key destroyed", has.Destroy != nil, destroyed},
		{"key rotated", has.Rotate != nil, rotated},
		{"credentials expired", has.Expire != nil, expired},
	} {
		if part.applies {
			t.Run(part.name, func(t *testing.T) { part.test(t, h, h.New(t)) })
		}
	}
	if has.Unresponsive != nil {
		nothingLeft(t, func() {
			t.Run("mute peer", func(t *testing.T) { unresponsive(t, h, h.New(t)) })
		})
	}
}

// checkHooks compares the hooks that are nil with the reasons that the harness gives, and prints these.
func (h Harness) checkHooks(t *testing.T, f *Fixture) {
	t.Helper()
	fields := reflect.ValueOf(f).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		reason, excused := h.Without[name]
		switch {
		case fields.Field(i).IsNil() && reason == "":
			t.Errorf("the fixture has no %s, and the harness does not say in Without why this provider has no such thing", name)
		case fields.Field(i).IsNil():
			t.Logf("not tested: %s: %s", name, reason)
		case excused:
			t.Errorf("Without gives a reason for %s, which the fixture has", name)
		}
	}
	for name := range h.Without {
		if _, ok := fields.Type().FieldByName(name); !ok {
			t.Errorf("Without names %s; no hook is called so", name)
		}
	}
	for name, class := range h.Also {
		if _, ok := fields.Type().FieldByName(name); !ok || class == "" {
			t.Errorf("Also names %s (%q); no hook is called so, or no class is given", name, class)
		}
	}
}

// Unless gives one reason for all the hooks that a provider does not have: every one but those named, and the wrapper.
func Unless(reason string, has ...string) map[string]string {
	out := map[string]string{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Fixture]()) {
		if f.Name != "Wrapper" && !slices.Contains(has, f.Name) {
			out[f.Name] = reason
		}
	}
	return out
}

// classes are those that the test of a hook accepts.
func (h Harness) classes(hook string, want seals.Class) []seals.Class {
	if also, ok := h.Also[hook]; ok {
		return []seals.Class{want, also}
	}
	return []seals.Class{want}
}
