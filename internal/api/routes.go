package api

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/recovery"
)

// Access says whose requests a route answers, and when.
type access uint8

const (
	// WithToken authorises the token for the route's capability; 503 while sealed.
	WithToken access = iota
	// TokenUnlessSealed does the same while unsealed; a sealed node checks no token.
	TokenUnlessSealed
	// OptionalToken recognises a token that has the capability, and answers without one, too; 503
	// while sealed.
	OptionalToken
	// Open checks no token; 503 while sealed.
	Open
	// AlwaysOpen checks no token, sealed or not.
	AlwaysOpen
	// ByMethod is Open where the auth method says that the path is a login, else WithToken.
	ByMethod
	// RecoveryToken takes the token of recovery mode, which is above all policies.
	RecoveryToken
)

var accessNames = [...]string{
	"token", "token unless sealed", "optional token", "open unless sealed", "open",
	"as the auth method says", "recovery token",
}

// String returns the name in the pinned table.
func (a access) String() string { return accessNames[a] }

// Switch is a setting of the listener, or of the server, that takes a route away or opens it.
type Switch uint8

// The switches. A route without one is always there.
const (
	NoSwitch       Switch = iota
	RekeySwitch           // absent with disable_unauthed_rekey_endpoints
	RootSwitch            // absent with disable_unauthed_generate_root_endpoints
	RawSwitch             // present with raw_storage_endpoint only
	MetricsSwitch         // open with unauthenticated_metrics_access, absent with disallow_metrics
	InFlightSwitch        // open with unauthenticated_in_flight_requests_access
	ProfileSwitch         // open with unauthenticated_pprof_access
)

var switchNames = [...]string{"", "rekey", "generate-root", "raw", "metrics", "in-flight", "pprof"}

// String returns the name in the pinned table.
func (s Switch) String() string { return switchNames[s] }

// Audit is how a request is written to the audit trail.
type Audit uint8

// The ways to audit.
const (
	AuditBoth    Audit = iota // request and response
	AuditRequest              // the request alone: it ends the role whose devices would take the response
	AuditDevices              // both, even where the first device is only made, or the last removed, by the request
)

var auditNames = [...]string{"", "request only", "devices"}

// String returns the name in the pinned table.
func (a Audit) String() string { return auditNames[a] }

// Duration is the class of a request's duration.
type Duration uint8

// The classes.
const (
	Usual    Duration = iota // a change of role waits for it
	Lasting                  // no change of role waits for it: it makes the change, or has no end
	Transfer                 // lasting, and may take hours: a snapshot
)

var durationNames = [...]string{"", "lasting", "transfer"}

// String returns the name in the pinned table.
func (d Duration) String() string { return durationNames[d] }

// Limits of bodies. Shares and settings are small; init may bring 255 PGP keys twice; the storage
// bounds a secret, and the listener's own limit applies to all.
const (
	NoBody    = 0 // a body is ignored
	SmallBody = 64 << 10
	KeyBody   = 256 << 10 // one public key
	InitBody  = 8 << 20
	AnyBody   = 1 << 40
)

type Handle func(ctx context.Context, h *Handler, q *Request) (*Answer, error)

// Route is one line of the table: an operation on a path.
type Route struct {
	Methods    []string // GET implies HEAD
	Path       string   // below /v1/; "*" at its end stands for a rest that is not empty
	Body       int64    // most bytes that are read; 0: a body is ignored
	Access     access
	Capability policy.Capability // on the path; see [token.Need]
	Sudo       bool
	Style      Style

	Lifecycle bool   // refused in namespaces; a wrong method gets 405 with no text
	Switch    Switch // the setting that takes it away or opens it
	Shares    bool   // takes shares from unauthenticated callers: what is refused is counted, see [limits.Refusals]
	Unwraps   bool   // opens a wrapping token: see [handler.admitUnwrap]
	Own       bool   // is about the very node that is asked: never forwarded
	Here      bool   // changes nothing but this node: a standby answers it itself
	Fold      bool   // "*" stands for a name without case: it is put in lower case first
	Folder    bool   // "*" stands for a mount's path: a slash at its end is dropped first
	Guarded   bool   // bodies have shares, tokens, passwords or keys: no setting shows them in the audit trail
	Mount     bool   // its path is in a mount, which may be any
	Audit     Audit
	Duration  Duration
	Target    recovery.Target                                     // of a rekey
	Quorum    recovery.Purpose                                    // each call uses a grant of a quorum of shares
	Exists    func(ctx context.Context, q *Request) (bool, error) // nil: a write is never a create
	Handle    Handle
}

var (
	Get     = []string{"GET"}
	Write   = []string{"PUT", "POST"}
	Remove  = []string{"DELETE"}
	Listing = []string{"LIST"}
)
