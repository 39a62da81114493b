// Package mount is the table of mounts: each is a path and the backend that answers below it
// (engine/kv and others). Auth methods have a table of their own, of the same kind: see [Options].
//
// It guarantees that a mount can access its own entries only; that mounting and unmounting are one
// commit each, after which memory equals disk; and that after [Table.Unmount] has returned nothing
// more is written below the mount, although [Table.Run] removes its entries later.
//
// It does not guarantee that calls of a backend in progress end with an unmount or a change of the
// mount: they may still read, and their writes fail with [ErrChanged]. It decides nothing about
// permissions: see internal/auth.
//
// Stays compatible: the record at "core/mounts", whose first byte is its version, and
// "logical/<uuid>/" as the prefix of a mount's entries.
package mount

import (
	"context"
	"crypto/tls"
	"net/url"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/storage"
)

// Operation is the kind of a request.
type Operation uint8

// The operations. A write is Create or Update: see [ExistenceChecker].
const (
	Read Operation = iota
	List
	Create
	Update
	Patch
	Delete
	Scan
)

var operationNames = [...]string{"read", "list", "create", "update", "patch", "delete", "scan"}

// String returns the operation's name, which is also that of the capability it needs.
func (o Operation) String() string { return operationNames[o] }

// Request is a request below a mount.
type Request struct {
	Operation Operation
	// relative to the mount, without a leading slash; for list and scan empty or with a trailing
	// slash
	Path     string
	Data     map[string]any // the body of a write: numbers are json.Number; nil without a body
	Query    url.Values     // of a read, list or delete
	Identity token.Identity
	Found    any                  // the result of [Finder.Find]; nil if it was not called
	Remote   string               // the client's address, such as "192.0.2.1:1234"
	TLS      *tls.ConnectionState // nil without TLS
}

// Response is a backend's response. A nil Response means "not found" to a read or list and "done"
// to a write.
type Response struct {
	Data          any // encoded as a JSON object; json.RawMessage is sent as it is
	LeaseDuration int // seconds
	Warnings      []string
	Status        int    // of HTTP; 0 means 200. A 404 may have data, such as the metadata of a deleted version
	Login         *Login // set by an auth method after authentication: the client gets a token
}

// Backend answers the requests below one mount. It is safe for concurrent use. Errors for clients
// are *fault.Error.
type Backend interface {
	Handle(ctx context.Context, r *Request) (*Response, error)
}

// ExistenceChecker is implemented by backends that distinguish create from update: a write to a new
// path needs the create capability.
type ExistenceChecker interface {
	Exists(ctx context.Context, path string) (bool, error)
}

// Finder replaces [ExistenceChecker] for backends that reuse the record by which they decide:
// [Request.Found] passes it on to Handle, which must check that it is still current.
type Finder interface {
	Find(ctx context.Context, path string) (exists bool, found any, err error)
}

// Maintainer is implemented by backends with background work, such as an upgrade or the removal of
// what a crash left behind. Maintain is called when a node becomes active and after each change of
// the mount, until it succeeds; it may be interrupted at any point and called again.
type Maintainer interface {
	Maintain(ctx context.Context) error
}

// Ticker is implemented by backends that have periodic work: to write what is only in memory, to
// rotate what is due. Tick is called about once a minute on the active node; an error is logged,
// and the next call tries again.
type Ticker interface {
	Tick(ctx context.Context) error
}

// Invalidator is implemented by backends that cache entries. Invalidate is called on a standby for
// each entry below the mount that the active node has changed; it must not block on the storage.
type Invalidator interface {
	Invalidate(key string)
}

// Tuner is implemented by backends that validate a change of their mount: they refuse it with a
// [fault.Invalid], and the operations they return are part of the commit that changes the mount.
type Tuner interface {
	Tune(ctx context.Context, to Entry) ([]storage.Op, error)
}

// TokenDataRemover is implemented by backends that keep entries for individual tokens.
type TokenDataRemover interface {
	// RemoveTokenData removes all entries of the token with this accessor.
	RemoveTokenData(ctx context.Context, accessor string) error
}

// Storage is a backend's storage, with the semantics of [storage.Store] and keys relative to the
// mount. A batch holds at most [MaxOps] operations.
type Storage interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// MaxOps is how many operations and conditions a backend's commit may hold; the rest is the
// barrier's.
const MaxOps = storage.MaxOps - 4

// Factory creates a mount's backend. It returns a *fault.Error of kind Invalid if the mount's
// settings are wrong.
type Factory func(store Storage, m Entry) (Backend, error)

// Noticer is implemented by a [Ticker] that finds what an operator should know.
type Noticer interface {
	// Notices returns what was found since the last call, each for one line of the log.
	Notices() []string
}
