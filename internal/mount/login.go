package mount

import (
	"context"
	"errors"
	"time"
)

// Login is an authenticated client, as an auth method's backend returns it. Zero values mean the
// defaults of the mount and the server.
type Login struct {
	DisplayName string // without the mount's path: "alice" becomes "userpass-alice"
	Policies    []string
	NoDefault   bool // omits the policy "default"
	Meta        map[string]string
	TTL         time.Duration
	MaxTTL      time.Duration // limits renewals
	ExplicitMax time.Duration // limits renewals, of periodic tokens too
	Period      time.Duration
	Uses        int64
	Type        string   // "", "service", "batch", "default-service", "default-batch"
	Networks    []string // CIDRs from which the token may be used
}

// ErrCredentials is in the chain of an error about wrong credentials, which counts for lock-out.
var ErrCredentials = errors.New("mount: wrong credentials")

// UnauthenticatedPaths is implemented by backends with paths that need no token: the logins.
type UnauthenticatedPaths interface {
	Open(o Operation, path string) bool
}

// NameFolder is implemented by backends that ignore the case of a name in their paths. FoldedName
// returns where in the path the name is; 0, 0 if there is none. The caller puts the name in lower
// case before it authorises, audits or routes the request, so that no spelling passes a policy on
// the name.
type NameFolder interface {
	FoldedName(path string) (start, end int)
}

// AliasLookup is implemented by backends whose credentials could be guessed. Alias returns, without
// checking anything, whom a login claims to be: failures are counted by it. It is empty if lock-out
// does not apply.
type AliasLookup interface {
	Alias(ctx context.Context, r *Request) (string, error)
}
