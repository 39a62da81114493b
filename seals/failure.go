package seals

import (
	"context"
	"errors"
	"fmt"
)

// Class says why a seal failed, as far as an operator must act differently.
type Class string

// The classes.
const (
	Unreachable     Class = "unreachable"      // device or service away, or mute beyond the deadline: retried
	Throttled       Class = "throttled"        // told to come back later: retried, slower
	Denied          Class = "denied"           // wrong PIN, expired credentials, no permission: retried only where trying costs nothing
	KeyDisabled     Class = "key disabled"     // the key exists and is switched off
	PendingDeletion Class = "pending deletion" // the key is about to be destroyed
	KeyGone         Class = "key gone"         // there is no such key, or no such token
	Corrupt         Class = "corrupt"          // what came back, or was stored, fails its authentication
	WrongKey        Class = "wrong key"        // another key than the one that wrapped the blob
	Misconfigured   Class = "misconfigured"    // the configuration names what is not there or cannot serve
	Unknown         Class = "unknown"          // unclassified: the cause is all there is
)

// Transient reports whether the same call may succeed later with nobody's help.
func (c Class) Transient() bool { return c == Unreachable || c == Throttled }

// Failure is a classified error of a seal. Providers return it; [ClassOf] finds it.
type Failure struct {
	Class  Class
	Remedy string // one sentence for the operator: what to do; never empty
	Err    error  // the cause, without secrets
	Final  bool   // trying again is harmful (a PIN counter) until the configuration changes
}

// Fail returns a classified error with its remedy.
func Fail(c Class, err error, remedy string, args ...any) *Failure {
	return &Failure{Class: c, Err: err, Remedy: fmt.Sprintf(remedy, args...)}
}

// Error gives the class, the cause and the remedy.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %v (%s)", f.Class, f.Err, f.Remedy)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Classify returns err's Failure; one is made where a provider did not classify: a deadline is
// Unreachable, anything else Unknown. It returns nil for nil.
func Classify(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Fail(Unreachable, err, "see whether the device or service answers at all")
	}
	return Fail(Unknown, err, "the cause above is all that the provider tells")
}

// ClassOf returns the class of err, "" for nil.
func ClassOf(err error) Class {
	if f := Classify(err); f != nil {
		return f.Class
	}
	return ""
}
