// Package backends is what clients reach behind the node: a table of mounts, each a path and the backend that answers
// below it (engine/kv and others). Auth methods have a table of their own, of the same kind: see [Options].
//
// It guarantees that a mount sees its own entries alone; that mounting and unmounting are one
// commit each, after which memory equals disk; and that once [Table.Unmount] has returned nothing
// more is written below the mount, although its entries are removed later, by [Table.Run].
//
// It does not guarantee that a backend's calls under way end with an unmount or a change of the mount: they go on reading, and their
// writes fail with [ErrChanged]. It decides nothing about permissions: see internal/auth.
//
// Stays compatible: the record at "core/mounts" with its first byte as version, and "logical/<uuid>/" as place of a mount's entries.
package mount

import (
	"context"
	"crypto/tls"
	"net/url"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/storage"
)

// Operation is what a request wants to do.
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

// String gives the name, which is also that of the capability it needs.
func (o Operation) String() string { return operationNames[o] }

// Request is what a backend is asked.
type Request struct {
	Operation Operation
	Path      string         // below the mount, without a slash in front; of a list or scan empty or with one at its end
	Data      map[string]any // the body of a write: numbers are json.Number; nil where there was none
	Query     url.Values     // of a read, list or delete
	Identity  token.Identity
	Remote    string               // who asks: "192.0.2.1:1234"
	TLS       *tls.ConnectionState // nil without TLS
}

// Response is what a backend answers. A nil Response is "nothing there" to a read or list and "done" to a write.
type Response struct {
	Data          any // what encoding/json renders as an object; json.RawMessage costs nothing
	LeaseDuration int // seconds
	Warnings      []string
	Status        int    // of HTTP; 0: 200. One of 404 may have data: of a version that was deleted, say
	Login         *Login // from backends of auth methods: whoever asked gets a token
}

// Backend answers the requests below one mount. It is safe for concurrent use. Errors for clients are *fault.Error.
type Backend interface {
	Handle(ctx context.Context, r *Request) (*Response, error)
}

// ExistenceChecker is implemented by backends in which a write to a new path needs another capability than one to a path that is
// taken: Create instead of Update.
type ExistenceChecker interface {
	Exists(ctx context.Context, path string) (bool, error)
}

// Maintainer is implemented by backends that have work of their own: an upgrade, what a crash left half removed. Keep is called when a node
// becomes active and after each change of the table; it may be cut off at any point, and called again.
type Maintainer interface {
	Maintain(ctx context.Context) error
}

// Tuner is implemented by backends that have a say when their mount is tuned: they refuse with a [fault.Invalid], and what they return
// is written in the commit that changes the mount.
type Tuner interface {
	Tune(ctx context.Context, to Entry) ([]storage.Op, error)
}

// TokenDataRemover is implemented by backends that keep entries for single tokens.
type TokenDataRemover interface {
	// RemoveTokenData removes all that is kept for the token with this accessor.
	RemoveTokenData(ctx context.Context, accessor string) error
}

// Storage is where a backend keeps its entries: what [storage.Store] promises, below a prefix of the mount's own. Keys are relative to it.
// A batch has room for [MaxOps] operations.
type Storage interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// MaxOps is how many operations and conditions one commit of a backend can hold: the rest is the barrier's.
const MaxOps = storage.MaxOps - 4

// Factory makes a mount's backend. A *fault.Error of kind Invalid says what is wrong with the mount.
type Factory func(store Storage, m Entry) (Backend, error)
