package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/recovery"
)

// access says whose request a route answers, and when.
type access uint8

const (
	// withToken: the token is authorised for the route's capability; 503 while sealed.
	withToken access = iota
	// withTokenUnlessSealed: the same while unsealed; a sealed node looks at no token.
	withTokenUnlessSealed
	// tokenIfAny: whoever has a token that may do it is known, and counts for more than somebody without; 503 while sealed.
	tokenIfAny
	// anybody: no token is looked at; 503 while sealed.
	anybody
	// anybodyAlways: no token is looked at, sealed or not.
	anybodyAlways
	// asMethod: anybody where the auth method says that the path is a login, otherwise as withToken.
	asMethod
	// withRecoveryToken: the token of recovery mode, which stands above all policies.
	withRecoveryToken
)

var accessNames = [...]string{"token", "token unless sealed", "token if any", "anybody unsealed", "anybody", "as the auth method says", "recovery token"}

// String returns the name in the pinned table.
func (a access) String() string { return accessNames[a] }

// Switch is a setting of the listener, or of the server, that takes a route away or opens it.
type Switch uint8

// The switches. A route without one is always there.
const (
	noSwitch       Switch = iota
	rekeySwitch           // not there with disable_unauthed_rekey_endpoints
	rootSwitch            // not there with disable_unauthed_generate_root_endpoints
	rawSwitch             // there with raw_storage_endpoint only
	metricsSwitch         // open with unauthenticated_metrics_access, not there with disallow_metrics
	inFlightSwitch        // open with unauthenticated_in_flight_requests_access
	profileSwitch         // open with unauthenticated_pprof_access
)

var switchNames = [...]string{"", "rekey", "generate-root", "raw", "metrics", "in-flight", "pprof"}

// String returns the name in the pinned table.
func (s Switch) String() string { return switchNames[s] }

// Audit is how a request is written to the audit trail.
type Audit uint8

// The ways to audit.
const (
	auditBoth    Audit = iota // request and response
	auditRequest              // the request alone: it ends the role whose devices would take the response
	auditDevices              // both, even where the first device is only made, or the last removed, by the request
)

var auditNames = [...]string{"", "request only", "devices"}

// String returns the name in the pinned table.
func (a Audit) String() string { return auditNames[a] }

// Duration is the class of a request's duration.
type Duration uint8

// The classes.
const (
	usual    Duration = iota // a change of role waits for it
	lasting                  // no change of role waits for it: it makes the change, or has no end
	transfer                 // lasting, and may take hours: a snapshot
)

var durationNames = [...]string{"", "lasting", "transfer"}

// String returns the name in the pinned table.
func (d Duration) String() string { return durationNames[d] }

// Sizes of bodies. Shares and settings are small; init may bring 255 PGP keys twice; a secret is bounded by the storage, and the listener's
// own limit is what counts.
const (
	noBody    = 0 // a body is ignored
	smallBody = 64 << 10
	keyBody   = 256 << 10 // one public key
	initBody  = 8 << 20
	anyBody   = 1 << 40
)

type handle func(h *handler, ctx context.Context, q *request) (*answer, error)

// route is one line of the table: an operation on a path.
type route struct {
	Methods    []string // GET implies HEAD
	Path       string   // below /v1/; "*" at its end stands for a rest that is not empty
	Body       int64    // most bytes that are read; 0: a body is ignored
	Access     access
	Capability policy.Capability // on the path; see [token.Need]
	Sudo       bool
	Style      style

	Lifecycle bool   // refused in namespaces; a wrong method gets 405 with no text
	Switch    Switch // the setting that takes it away or opens it
	Shares    bool   // takes shares from unauthenticated callers: what is refused is counted, see [limits.Refusals]
	Unwraps   bool   // opens a wrapping token: see [handler.admitUnwrap]
	Own       bool   // is about the very node that is asked: never forwarded
	Here      bool   // changes nothing but this node: a standby answers it itself
	Guarded   bool   // bodies have shares, tokens, passwords or keys: no setting shows them in the audit trail
	Mount     bool   // of a mount
	Audit     Audit
	Duration  Duration
	Target    recovery.Target                                     // of a rekey
	Exists    func(ctx context.Context, q *request) (bool, error) // nil: a write is never a create
	Handle    handle
}

var (
	get     = []string{"GET"}
	write   = []string{"PUT", "POST"}
	remove  = []string{"DELETE"}
	listing = []string{"LIST"}
)

var lifecycleRoutes = []route{
	{Methods: get, Path: "sys/init", Access: anybodyAlways, Style: bareStyle, Lifecycle: true, Guarded: true,
		Handle: (*handler).initStatus},
	{Methods: write, Path: "sys/init", Body: initBody, Access: anybodyAlways, Style: bareStyle, Lifecycle: true,
		Guarded: true, Handle: (*handler).init},
	{Methods: get, Path: "sys/seal-status", Access: anybodyAlways, Style: bareStyle, Handle: (*handler).sealStatus},
	{Methods: get, Path: "sys/seal-backend-status", Access: anybodyAlways, Style: bareStyle,
		Handle: (*handler).sealBackends},
	{Methods: write, Path: "sys/unseal", Body: smallBody, Access: anybodyAlways, Style: bareStyle, Lifecycle: true,
		Shares: true, Guarded: true, Handle: (*handler).unseal},
	{Methods: write, Path: "sys/seal", Body: smallBody, Access: withTokenUnlessSealed, Capability: policy.Update,
		Sudo: true, Style: bareStyle, Lifecycle: true, Own: true, Here: true, Audit: auditRequest,
		Duration: lasting, Handle: (*handler).seal},
	{Methods: get, Path: "sys/health", Access: anybodyAlways, Style: bareStyle, Lifecycle: true,
		Handle: (*handler).health},
	{Methods: get, Path: "sys/leader", Access: anybodyAlways, Style: bareStyle, Handle: (*handler).leader},
	{Methods: write, Path: "sys/step-down", Body: smallBody, Capability: policy.Update, Sudo: true, Style: bareStyle,
		Lifecycle: true, Audit: auditRequest, Duration: lasting, Handle: (*handler).stepDown},
	{Methods: get, Path: "sys/ha-status", Capability: policy.Read, Style: doubleStyle, Handle: (*handler).haStatus},
}

var rekeyRoutes = slices.Concat(rekeyOf("sys/rekey/", recovery.Barrier), rekeyOf("sys/rekey-recovery-key/", recovery.Recovery), []route{
	{Methods: get, Path: "sys/rekey/backup", Capability: policy.Read, Style: doubleStyle, Guarded: true,
		Target: recovery.Barrier, Handle: (*handler).backup},
	{Methods: remove, Path: "sys/rekey/backup", Capability: policy.Delete, Style: doubleStyle, Guarded: true,
		Target: recovery.Barrier, Handle: (*handler).deleteBackup},
	{Methods: get, Path: "sys/rekey/recovery-key-backup", Capability: policy.Read, Style: doubleStyle, Guarded: true,
		Target: recovery.Recovery, Handle: (*handler).backup},
	{Methods: remove, Path: "sys/rekey/recovery-key-backup", Capability: policy.Delete, Style: doubleStyle,
		Guarded: true, Target: recovery.Recovery, Handle: (*handler).deleteBackup},
})

func rekeyOf(path string, target recovery.Target) []route {
	return []route{
		{Methods: get, Path: path + "init", Access: anybody, Style: bareStyle, Lifecycle: true,
			Switch: rekeySwitch, Guarded: true, Target: target, Handle: (*handler).rekeyStatus},
		{Methods: write, Path: path + "init", Body: initBody, Capability: policy.Update, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Guarded: true, Target: target, Handle: (*handler).rekeyStart},
		{Methods: remove, Path: path + "init", Body: smallBody, Capability: policy.Delete, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Guarded: true, Target: target, Handle: (*handler).rekeyCancel},
		{Methods: write, Path: path + "update", Body: smallBody, Access: anybody, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: (*handler).rekeyUpdate},
		{Methods: get, Path: path + "verify", Access: anybody, Style: bareStyle, Lifecycle: true,
			Switch: rekeySwitch, Guarded: true, Target: target, Handle: (*handler).verifyStatus},
		{Methods: write, Path: path + "verify", Body: smallBody, Access: anybody, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: (*handler).verifyUpdate},
		{Methods: remove, Path: path + "verify", Body: smallBody, Capability: policy.Delete, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Guarded: true, Target: target, Handle: (*handler).verifyRestart},
		{Methods: write, Path: path + "acknowledge", Body: smallBody, Access: anybody, Style: bareStyle,
			Lifecycle: true, Switch: rekeySwitch, Shares: true, Guarded: true, Target: target,
			Handle: (*handler).rekeyAcknowledge},
	}
}

var keyringRoutes = []route{
	{Methods: write, Path: "sys/rotate", Body: smallBody, Capability: policy.Update, Sudo: true, Style: doubleStyle,
		Guarded: true, Handle: (*handler).rotate},
	{Methods: write, Path: "sys/rotate/keyring", Body: smallBody, Capability: policy.Update, Sudo: true,
		Style: doubleStyle, Guarded: true, Handle: (*handler).rotate},
	{Methods: write, Path: "sys/rotate/root", Body: smallBody, Capability: policy.Update, Sudo: true, Guarded: true,
		Handle: (*handler).rotateRoot},
	{Methods: get, Path: "sys/rotate/config", Capability: policy.Read, Guarded: true,
		Handle: (*handler).rotationConfig},
	{Methods: write, Path: "sys/rotate/config", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).setRotationConfig},
	{Methods: get, Path: "sys/rotate/keyring/config", Capability: policy.Read, Guarded: true,
		Handle: (*handler).rotationConfig},
	{Methods: write, Path: "sys/rotate/keyring/config", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).setRotationConfig},
	{Methods: get, Path: "sys/key-status", Capability: policy.Read, Style: doubleStyle, Handle: (*handler).keyStatus},
	{Methods: write, Path: "sys/sealwrap/rewrap", Body: smallBody, Capability: policy.Update, Sudo: true,
		Handle: (*handler).rewrapSeals},
}

var rotateRoutes = slices.Concat(rotateOf("sys/rotate/root/", recovery.Barrier), rotateOf("sys/rotate/recovery/", recovery.Recovery))

func rotateOf(path string, target recovery.Target) []route {
	return []route{
		{Methods: get, Path: path + "init", Capability: policy.Read, Guarded: true, Target: target,
			Handle: (*handler).rekeyStatus},
		{Methods: write, Path: path + "init", Body: initBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: (*handler).rekeyStart},
		{Methods: remove, Path: path + "init", Body: smallBody, Capability: policy.Delete, Guarded: true,
			Target: target, Handle: (*handler).rekeyCancel},
		{Methods: write, Path: path + "update", Body: smallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: (*handler).rekeyUpdate},
		{Methods: get, Path: path + "verify", Capability: policy.Read, Guarded: true, Target: target,
			Handle: (*handler).verifyStatus},
		{Methods: write, Path: path + "verify", Body: smallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: (*handler).verifyUpdate},
		{Methods: remove, Path: path + "verify", Body: smallBody, Capability: policy.Delete, Guarded: true,
			Target: target, Handle: (*handler).verifyRestart},
		{Methods: write, Path: path + "acknowledge", Body: smallBody, Capability: policy.Update, Guarded: true,
			Target: target, Handle: (*handler).rekeyAcknowledge},
		{Methods: get, Path: path + "backup", Capability: policy.Read, Style: doubleStyle, Guarded: true,
			Target: target, Handle: (*handler).backup},
		{Methods: remove, Path: path + "backup", Capability: policy.Delete, Style: doubleStyle, Guarded: true,
			Target: target, Handle: (*handler).deleteBackup},
	}
}

var rootRoutes = []route{
	{Methods: get, Path: "sys/generate-root/attempt", Access: anybody, Style: bareStyle, Lifecycle: true,
		Switch: rootSwitch, Guarded: true, Handle: (*handler).rootStatus},
	{Methods: write, Path: "sys/generate-root/attempt", Body: keyBody, Access: tokenIfAny, Capability: policy.Update,
		Style: bareStyle, Lifecycle: true, Switch: rootSwitch, Guarded: true, Handle: (*handler).rootStart},
	{Methods: remove, Path: "sys/generate-root/attempt", Body: smallBody, Access: tokenIfAny,
		Capability: policy.Delete, Style: bareStyle, Lifecycle: true, Switch: rootSwitch, Guarded: true,
		Handle: (*handler).rootCancel},
	{Methods: write, Path: "sys/generate-root/update", Body: smallBody, Access: anybody, Style: bareStyle,
		Lifecycle: true, Switch: rootSwitch, Shares: true, Guarded: true, Handle: (*handler).rootUpdate},
	{Methods: write, Path: "sys/generate-root/acknowledge", Body: smallBody, Access: anybody, Style: bareStyle,
		Lifecycle: true, Switch: rootSwitch, Shares: true, Guarded: true, Handle: (*handler).rootAcknowledge},
	{Methods: get, Path: "sys/generate-root-token/attempt", Capability: policy.Read, Guarded: true,
		Handle: (*handler).rootStatus},
	{Methods: write, Path: "sys/generate-root-token/attempt", Body: keyBody, Capability: policy.Update,
		Guarded: true, Handle: (*handler).rootStart},
	{Methods: remove, Path: "sys/generate-root-token/attempt", Body: smallBody, Capability: policy.Delete,
		Guarded: true, Handle: (*handler).rootCancel},
	{Methods: write, Path: "sys/generate-root-token/update", Body: smallBody, Capability: policy.Update,
		Guarded: true, Handle: (*handler).rootUpdate},
	{Methods: write, Path: "sys/generate-root-token/acknowledge", Body: smallBody, Capability: policy.Update,
		Guarded: true, Handle: (*handler).rootAcknowledge},
	{Methods: write, Path: "sys/decode-token", Body: smallBody, Access: anybody, Here: true, Guarded: true,
		Handle: (*handler).decodeToken},
}

// custodianRoutes are ours: other servers have nothing like it.
var custodianRoutes = []route{
	{Methods: get, Path: "sys/recovery/holders", Capability: policy.Read, Guarded: true, Handle: (*handler).holders},
	{Methods: write, Path: "sys/recovery/prove", Body: smallBody, Access: anybody, Style: bareStyle, Shares: true,
		Guarded: true, Handle: (*handler).prove},
	{Methods: get, Path: "sys/recovery/transcripts", Capability: policy.Read, Guarded: true,
		Handle: (*handler).transcripts},
	{Methods: listing, Path: "sys/recovery/transcripts", Capability: policy.List, Guarded: true,
		Handle: (*handler).transcripts},
	{Methods: get, Path: "sys/recovery/transcripts/*", Capability: policy.Read, Guarded: true,
		Handle: (*handler).transcript},
	{Methods: get, Path: "sys/recovery/transcript", Capability: policy.Read, Guarded: true,
		Handle: (*handler).exportTranscript},
}

// Routes that are not in the table because their paths are not fixed.
var (
	// mounted is for whatever lies behind the table of mounts. The capability follows the operation.
	mounted = route{Body: anyBody, Mount: true, Handle: (*handler).backend}
	// nothing is for paths below sys/ and auth/ that are not there. A token is asked for first: who has none learns nothing.
	nothing = route{Here: true, Guarded: true, Handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errNoPath
	}}
	// wrongMethod is for paths that are there, with another operation.
	wrongMethod = route{Here: true, Guarded: true, Handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errUnsupported
	}}
)

// table finds routes.
type table struct {
	exact  map[string]map[string]*route // path, method
	prefix map[string]map[string]*route // path up to the slash before "*", method
	open   map[*route]*route            // the routes that a listener may open, without authorisation
}

func newTable(all []route) *table {
	t := &table{exact: map[string]map[string]*route{}, prefix: map[string]map[string]*route{}, open: map[*route]*route{}}
	for i := range all {
		r := &all[i]
		in, path := t.exact, r.Path
		if before, star := strings.CutSuffix(path, "*"); star {
			if !strings.HasSuffix(before, "/") {
				panic("api: the route " + path + " has no slash before its *")
			}
			in, path = t.prefix, before
		}
		if in[path] == nil {
			in[path] = map[string]*route{}
		}
		for _, method := range r.Methods {
			in[path][method] = r
		}
		if r.Switch == metricsSwitch || r.Switch == inFlightSwitch || r.Switch == profileSwitch {
			open := *r
			open.Access, open.Capability, open.Sudo = anybodyAlways, 0, false
			t.open[r] = &open
		}
	}
	return t
}

// methods returns the routes of a path by method: those of the path itself, else those of its longest prefix.
func (t *table) methods(path string) (methods map[string]*route, rest string) {
	if m := t.exact[strings.TrimSuffix(path, "/")]; m != nil {
		return m, ""
	}
	for end := strings.LastIndexByte(path, '/'); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if m := t.prefix[path[:end+1]]; m != nil && end+1 < len(path) {
			return m, path[end+1:]
		}
	}
	return nil, ""
}

// find chooses the request's route. The error is that of a lifecycle path with a method that it does not have.
func (t *table) find(q *request, login *route) error {
	if !ours(q.path) {
		q.route = &mounted
		return nil
	}
	methods, rest := t.methods(q.path)
	q.rest = rest
	if methods == nil {
		q.route = &nothing
		if rest, ok := strings.CutPrefix(q.path, authPath); ok && rest != "" && !strings.HasPrefix(q.path, tokenPath) {
			q.route = login
		}
		return nil
	}
	if q.route = methods[q.method()]; q.route != nil {
		return nil
	}
	q.route = slices.MinFunc(slices.Collect(maps.Values(methods)), func(a, b *route) int { return int(b.Access) - int(a.Access) })
	if q.route.Lifecycle || q.route.Access == anybodyAlways {
		return errNoMethod
	}
	if q.route.Access == withToken {
		q.route = &wrongMethod
		return nil
	}
	return errUnsupported
}

// ours reports whether a path is in the table or nowhere, rather than behind a mount.
func ours(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "sys" || first == "auth"
}

// method is the one under which the table has the operation.
func (q *request) method() string {
	switch q.op {
	case mount.Read:
		return "GET"
	case mount.Create, mount.Update:
		return "PUT"
	case mount.Delete:
		return "DELETE"
	}
	return strings.ToUpper(q.op.String())
}
