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
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// Harness describes a provider to the suite.
type Harness struct {
	// New makes a fixture for one test, with keys and peers of its own. What it opens it closes by t.Cleanup.
	New func(t *testing.T) *Fixture
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

	// Mute makes the peer accept calls and not answer them until restore is called.
	Mute func() (restore func())
	// Away makes the peer refuse connections, or vanish, until restore is called.
	Away func() (restore func())
	// Disable switches the key off; Enable on again.
	Disable, Enable func()
	// Schedule marks the key for destruction; Destroy destroys it at once.
	Schedule, Destroy func()
	// Rotate gives the key a new version, which Encrypt uses from then on.
	Rotate func()
	// Expire makes the wrapper's credentials useless; Renew puts good ones where the wrapper finds them.
	Expire, Renew func()
	// Throttle makes the peer ask for patience until restore is called.
	Throttle func() (restore func())
	// Garble makes the peer damage what it answers until restore is called.
	Garble func() (restore func())
}

// Run runs the suite. The test that calls it must not be parallel: one part looks for goroutines that were left behind.
func Run(t *testing.T, h Harness) {
	var has *Fixture
	t.Run("fixture", func(t *testing.T) { has = h.New(t) })
	if has == nil {
		t.Fatal("the harness makes no fixture")
	}
	binds := true
	if b, ok := has.Wrapper.(seals.Binder); ok {
		binds = b.BindsAAD()
	}
	for _, part := range []struct {
		name    string
		applies bool
		test    func(*testing.T, Harness, *Fixture)
	}{
		{"round trip", true, roundTrip},
		{"key id", true, keyID},
		{"after a restart", has.Again != nil, restart},
		{"concurrent", true, concurrent},
		{"cancelled", true, cancelled},
		{"additional data", binds, boundData},
		{"flipped bytes", true, flipped},
		{"cut and empty blobs", true, truncated},
		{"blob of another key", has.Other != nil, otherKey},
		{"mute peer", has.Mute != nil, mute},
		{"peer away", has.Away != nil, away},
		{"throttled", has.Throttle != nil, throttled},
		{"garbled answers", has.Garble != nil, garbled},
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
}
