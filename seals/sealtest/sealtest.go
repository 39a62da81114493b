// Package sealtest tests providers of seals, and programs that depend on them.
//
// [Run] is the conformance suite: what package seals, and every other user of a wrapping.Wrapper,
// may rely on. A provider that passes it returns what was wrapped; keeps the context's deadline;
// refuses a blob that was changed, moved to other additional data or wrapped by another key, with
// the right [seals.Class]; never panics on bad input; and shows no plaintext in an error.
//
// [Faulty] is a wrapper that fails on demand: errors by class, delays, hangs, damaged bytes.
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
	// New makes a fixture for one test, with its own keys and peers. It closes them by t.Cleanup.
	New func(t *testing.T) *Fixture
	// Without maps the name of each nil hook of Fixture to the reason why the provider cannot have
	// it. A nil hook without a reason fails the test, and so does a reason for a hook that is set.
	Without map[string]string
	// Also accepts, by the name of a hook, a second class where the peer answers two causes alike.
	Also map[string]seals.Class
	// Stride tests every Stride-th byte of a blob, for slow peers. 0 means 1.
	Stride int
	// Goroutines is the number of concurrent workers. 0 means 64.
	Goroutines int
}

// Fixture is one wrapper on a key, with hooks that change the state of its peer: the device or
// service behind it. Tests that need a nil hook are left out. Every fixture of a harness has the
// same hooks.
type Fixture struct {
	Wrapper wrapping.Wrapper
	// Other uses another key of the same kind at the same peer.
	Other wrapping.Wrapper
	// Again makes a second wrapper on the same key, as a restart does.
	Again func() wrapping.Wrapper

	// Unresponsive makes the peer accept calls and not answer them until restore is called.
	Unresponsive func() (restore func())
	// Away makes the peer unavailable, so that connections are refused, until restore is called.
	Away func() (restore func())
	// Disable disables the key, Enable enables it again.
	Disable, Enable func()
	// Schedule schedules the key for destruction; Unschedule cancels that, and Encrypt works again.
	Schedule, Unschedule func()
	// Destroy destroys the key at once.
	Destroy func()
	// Rotate gives the key a new version, which Encrypt uses from then on.
	Rotate func()
	// Deny revokes the permission to use the key from valid credentials until restore is called.
	Deny func() (restore func())
	// Expire invalidates the wrapper's credentials; Renew provides valid ones to the wrapper.
	Expire, Renew func()
	// Throttle makes the peer answer with its rate limit error until restore is called.
	Throttle func() (restore func())
	// Garble makes the peer return well-formed answers with wrong bytes until restore is called.
	Garble func() (restore func())
	// Calls returns the number of requests that the peer received.
	Calls func() int
}

// Run runs the suite. The calling test must not be parallel: one part checks for leaked goroutines.
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
	_, isQuorum := has.Wrapper.(seals.Quorum)
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
		{"additional data", true, boundData},
		{"blob of another seal", !isQuorum, otherSeal},
		{"flipped bytes", true, flipped},
		{"cut and empty blobs", true, truncated},
		{"blob of another key", has.Other != nil, otherKey},
		{"one request per probe", has.Calls != nil && !isQuorum, oneRequestPerProbe},
		{"peer unavailable", has.Away != nil, checkUnavailable},
		{"throttled", has.Throttle != nil, throttled},
		{"garbled answers", has.Garble != nil, garbled},
		{"permission revoked", has.Deny != nil, forbidden},
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
			t.Run("unresponsive peer", func(t *testing.T) { unresponsive(t, h, h.New(t)) })
		})
	}
}

// checkHooks checks that exactly the nil hooks have a reason, and logs the reasons.
func (h Harness) checkHooks(t *testing.T, f *Fixture) {
	t.Helper()
	fields := reflect.ValueOf(f).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		reason, excused := h.Without[name]
		switch {
		case fields.Field(i).IsNil() && reason == "":
			t.Errorf("hook %s is nil, and Without has no reason for it", name)
		case fields.Field(i).IsNil():
			t.Logf("not tested: %s: %s", name, reason)
		case excused:
			t.Errorf("Without has a reason for hook %s, which is set", name)
		}
	}
	for name := range h.Without {
		if _, ok := fields.Type().FieldByName(name); !ok {
			t.Errorf("Without names %s, which is not a hook", name)
		}
	}
	for name, class := range h.Also {
		if _, ok := fields.Type().FieldByName(name); !ok || class == "" {
			t.Errorf("Also names %s (%q), which is not a hook or has no class", name, class)
		}
	}
}

// Unless returns one reason for every hook of Fixture except those named.
func Unless(reason string, has ...string) map[string]string {
	out := map[string]string{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Fixture]()) {
		if f.Name != "Wrapper" && !slices.Contains(has, f.Name) {
			out[f.Name] = reason
		}
	}
	return out
}

// classes returns the classes that the test of a hook accepts.
func (h Harness) classes(hook string, want seals.Class) []seals.Class {
	if also, ok := h.Also[hook]; ok {
		return []seals.Class{want, also}
	}
	return []seals.Class{want}
}
