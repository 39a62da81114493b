package mount

import (
	"context"
	"errors"
	"time"
)

// Login is a proven identity: what the backend of an auth method answers to somebody who gets a token for it. Zero values are what the
// mount and the server have.
type Login struct {
	DisplayName string // behind the mount's path: "alice" becomes "userpass-alice"
	Policies    []string
	NoDefault   bool // without the policy "default"
	Meta        map[string]string
	TTL         time.Duration
	MaxTTL      time.Duration // renewals end there
	ExplicitMax time.Duration // the same, and of periodic tokens too
	Period      time.Duration
	Uses        int64
	Type        string   // "", "service", "batch", "default-service", "default-batch"
	Networks    []string // CIDRs from which the token may be used
}

// ErrCredentials is in the chain of an error that tells of wrong credentials: they count for lock-out.
var ErrCredentials = errors.New("mount: wrong credentials")

// UnauthenticatedPaths is implemented by backends of which some paths are open to whoever has no token: the logins.
type UnauthenticatedPaths interface {
	Open(o Operation, path string) bool
}

// AliasLookup is implemented by backends whose credentials could be guessed. Alias tells, without checking anything, whom a login claims to
// be: failures are counted by it. It is empty where nobody could be locked out.
type AliasLookup interface {
	Alias(ctx context.Context, r *Request) (string, error)
}
