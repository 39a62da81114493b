package seals

import (
	"context"
	"errors"
	"fmt"
)

// Class is the reason why a seal failed. Retries, health and the remedy follow from it.
type Class string

// The classes.
const (
	Unreachable     Class = "unreachable"      // device or service unavailable, or no answer by the deadline; retried
	Throttled       Class = "throttled"        // rate limit; retried more slowly
	Denied          Class = "denied"           // wrong PIN, expired credentials, no permission
	KeyDisabled     Class = "key disabled"     // the key exists and is disabled
	PendingDeletion Class = "pending deletion" // the key is scheduled for destruction
	KeyGone         Class = "key gone"         // no such key, or no such token
	Corrupt         Class = "corrupt"          // a stored blob or an answer fails its authentication
	WrongKey        Class = "wrong key"        // the blob was wrapped by another key
	Misconfigured   Class = "misconfigured"    // the configuration is wrong, or the key cannot be used for a seal
	Unknown         Class = "unknown"          // not classified
)

// Transient reports whether the same call may succeed later without an operator.
func (c Class) Transient() bool { return c == Unreachable || c == Throttled }

// Failure is a classified error of a seal. Providers return it; [ClassOf] finds it.
type Failure struct {
	Class  Class
	Remedy string // what the operator should do, in one sentence; never empty
	Err    error  // the cause, without secrets
	Final  bool   // a retry is harmful (PIN counter) until the configuration changes
}

// Fail returns a classified error with its remedy.
func Fail(c Class, err error, remedy string, args ...any) *Failure {
	return &Failure{Class: c, Err: err, Remedy: fmt.Sprintf(remedy, args...)}
}

// Error returns the class, the cause and the remedy.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %v (%s)", f.Class, f.Err, f.Remedy)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// ErrSetConfig is the cause of Misconfigured where SetConfig is called with a configuration.
var ErrSetConfig = errors.New("SetConfig cannot change the configuration: it is set when the seal is made")

// ConfigError returns the failure of a stanza that cannot be used. It returns err itself where that
// is a Misconfigured failure already.
func ConfigError(sealType, name string, err error) error {
	var f *Failure
	if errors.As(err, &f) && f.Class == Misconfigured {
		return f
	}
	return Fail(Misconfigured, fmt.Errorf("seal %q %q: %w", sealType, name, err),
		"correct the stanza or the environment variable")
}

// Classify returns the Failure in err. For an error without one, it makes one: a deadline is
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
		return Fail(Unreachable, err, "check that the device or service answers")
	}
	return Fail(Unknown, err, "see the cause; the provider gives no further information")
}

// ClassOf returns the class of err, "" for nil.
func ClassOf(err error) Class {
	if f := Classify(err); f != nil {
		return f.Class
	}
	return ""
}
