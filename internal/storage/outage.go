package storage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Class is the kind of a failure of a storage. It contains no address, user or path, so every
// client may see it.
type Class string

// Classes of failures.
const (
	Unreachable  Class = "unreachable"  // connections are refused, or no host has the name
	Unresponsive Class = "unresponsive" // no answer in time
	NoQuorum     Class = "no quorum"    // its members elect a leader, or too few run
	Full         Class = "full"         // a quota, or the disk
	Denied       Class = "denied"       // user, password, permission
	Certificate  Class = "certificate"  // one side does not trust the other
	Exhausted    Class = "exhausted"    // no connection or other resource is left
	ReadOnly     Class = "read-only"    // it takes no writes
	Damaged      Class = "corrupt"      // stored bytes cannot be what was written
	Failed       Class = "failed"       // the disk reports errors
)

// Remedy returns what an operator does about a failure. Like the class it names no details.
func (c Class) Remedy() string {
	switch c {
	case Unreachable:
		return "start the storage, and check its address and the network"
	case Unresponsive:
		return "check that the storage runs and that its disk and network respond"
	case NoQuorum:
		return "start most of the storage's members"
	case Full:
		return "free or add space in the storage; after a quota of etcd: compact, defragment, etcdctl alarm disarm"
	case Denied:
		return "correct the storage's user, password or permissions"
	case Certificate:
		return "correct the certificates or CA files of the storage's connection"
	case Exhausted:
		return "raise the storage server's limits"
	case ReadOnly:
		return "make the storage accept writes, or name the server that does"
	case Failed:
		return "check the disk and its file system"
	case Damaged:
		return "run `sealgate doctor -deep` on the stopped server, or restore a snapshot"
	}
	return "see the server's log"
}

// Lasting reports whether a failure of the class is certain as soon as it shows: waiting for an
// answer does not help.
func (c Class) Lasting() bool {
	return c == Unreachable || c == Full || c == Denied || c == Certificate || c == Damaged
}

// writesOnly reports whether reads may succeed during a failure of writes.
func (c Class) writesOnly() bool {
	return c == Full || c == ReadOnly || c == Denied || c == Damaged || c == Failed
}

// classified is an error with its class.
type classified struct {
	error
	class Class
}

func (c classified) Unwrap() error { return c.error }

// Classified returns err with a class, for [ClassOf].
func Classified(class Class, err error) error { return classified{err, class} }

// ClassOf returns the class of a failure of the storage; "" for errors that say nothing about its
// health, such as a condition that does not hold.
func ClassOf(err error) Class {
	var c classified
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return ""
	case errors.As(err, &c):
		return c.class
	case errors.Is(err, ErrFull):
		return Full
	case errors.Is(err, ErrCorrupt):
		return Damaged
	case errors.Is(err, ErrUnavailable):
		return Unresponsive
	}
	return ""
}

// Failure is why calls of a store fail at the moment.
type Failure struct {
	Class Class
	Err   error // cause and remedy, with addresses: for operators
	Since time.Time
}

// Reporter is implemented by stores that know why their calls currently fail.
type Reporter interface {
	// Failing returns the failure of the last calls; nil if they succeeded. It answers from memory.
	Failing() *Failure
}

// Outage records whether the calls of a store fail, and logs when that begins and ends. A store
// embeds or holds one; the zero value with a Log and Now is ready. Reads and writes are kept apart:
// a full storage answers reads.
type Outage struct {
	Log *slog.Logger
	Now func() time.Time

	mu          sync.Mutex
	read, write *Failure
}

// Failing implements [Reporter].
func (o *Outage) Failing() *Failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.read != nil {
		return o.read
	}
	return o.write
}

// Failed records a failed call. Errors without a class are ignored.
func (o *Outage) Failed(write bool, err error) {
	class := ClassOf(err)
	if class == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at := &o.read
	if write {
		at = &o.write
	}
	f := &Failure{Class: class, Err: err, Since: o.Now()}
	before := *at
	if before != nil {
		f.Since = before.Since
	}
	*at = f
	if before == nil || before.Class != class {
		o.Log.Warn("the storage fails", "class", string(class), "error", err)
	}
}

// outageAge is the age of an outage from which no call waits for an answer until its deadline. A
// younger one may be an election of the storage's members.
const outageAge = 2 * time.Second

// Over reports whether waiting longer for an answer does not help. certain: no answer is
// outstanding that may still come.
func (f *Failure) Over(now time.Time, certain bool) bool {
	return f != nil && (certain && f.Class.Lasting() || now.Sub(f.Since) >= outageAge)
}

// Over is [Failure.Over] of the current failure.
func (o *Outage) Over(certain bool) bool { return o.Failing().Over(o.Now(), certain) }

// Worked records a successful call. A write also proves that reads work, and a read that the
// storage can be reached.
func (o *Outage) Worked(write bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	proven := o.write != nil && (write || !o.write.Class.writesOnly())
	if o.read == nil && !proven {
		return
	}
	since := o.Now()
	if o.read != nil {
		since = o.read.Since
	}
	o.read = nil
	if proven {
		since, o.write = o.write.Since, nil
	}
	if o.write == nil {
		o.Log.Info("the storage works again", "after", o.Now().Sub(since).Round(time.Millisecond).String())
	}
}
