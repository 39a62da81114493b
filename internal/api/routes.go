package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/mount"
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

// marks are what else is to be known of a route.
type marks uint8

const (
	lifecycle     marks = 1 << iota // refused in namespaces; a wrong method gets 405 with no text
	rekeyEndpoint                   // not there where the listener has disable_unauthed_rekey_endpoints
	rootEndpoint                    // not there where it has disable_unauthed_generate_root_endpoints
	shares                          // takes shares from anybody: what is refused is counted, see [Refusals]
	rawEndpoint                     // there only where the server has raw_storage_endpoint
	unwraps                         // opens a wrapping token: see [handler.admitUnwrap]
	own                             // is about the very node that is asked: never forwarded
	here                            // changes nothing but this node: a standby answers it itself, see [handler.standbyAnswers]
)

var markNames = []string{"lifecycle", "rekey", "generate-root", "shares", "raw", "unwraps", "own", "here"}

// String lists the marks.
func (m marks) String() string {
	var names []string
	for i, name := range markNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

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
	Body       int64    // most bytes that are read
	Access     access
	Capability policy.Capability // on the path; see [token.Need]
	Sudo       bool
	Style      style
	Marks      marks
	handle     handle
}

var (
	get     = []string{"GET"}
	write   = []string{"PUT", "POST"}
	remove  = []string{"DELETE"}
	listing = []string{"LIST"}
)

// routes is the table. A test pins it, and another makes every request to every line with every kind of token.
//
// Rekey and generate-root are there twice: as every Vault has them, where a share needs no token, and as OpenBao has
// them, where each step needs one. Below is one machine: what one begins the other goes on with.
var routes = slices.Concat(lifecycleRoutes, rekeyRoutes, rotateRoutes, rootRoutes, custodianRoutes, auditRoutes, mountRoutes, operateRoutes, pprofRoutes, tokenRoutes,
	policyRoutes, passwordRoutes, authRoutes, wrappingRoutes, leaseRoutes, snapshotRoutes)

var lifecycleRoutes = []route{
	{get, "sys/init", noBody, anybodyAlways, 0, false, bareStyle, lifecycle, (*handler).initStatus},
	{write, "sys/init", initBody, anybodyAlways, 0, false, bareStyle, lifecycle, (*handler).init},
	{get, "sys/seal-status", noBody, anybodyAlways, 0, false, bareStyle, 0, (*handler).sealStatus},
	{get, "sys/seal-backend-status", noBody, anybodyAlways, 0, false, bareStyle, 0, (*handler).sealBackends},
	{write, "sys/unseal", smallBody, anybodyAlways, 0, false, bareStyle, lifecycle | shares, (*handler).unseal},
	{write, "sys/seal", smallBody, withTokenUnlessSealed, policy.Update, true, bareStyle, lifecycle | own | here, (*handler).seal},
	{get, "sys/health", noBody, anybodyAlways, 0, false, bareStyle, lifecycle, (*handler).health},
	{get, "sys/leader", noBody, anybodyAlways, 0, false, bareStyle, 0, (*handler).leader},
	{write, "sys/step-down", smallBody, withToken, policy.Update, true, bareStyle, lifecycle, (*handler).stepDown},
}

var rekeyRoutes = slices.Concat(rekeyOf("sys/rekey/"), rekeyOf("sys/rekey-recovery-key/"), []route{
	{get, "sys/rekey/backup", noBody, withToken, policy.Read, false, doubleStyle, 0, (*handler).backup},
	{remove, "sys/rekey/backup", noBody, withToken, policy.Delete, false, doubleStyle, 0, (*handler).deleteBackup},
	{get, "sys/rekey/recovery-key-backup", noBody, withToken, policy.Read, false, doubleStyle, 0, (*handler).backup},
	{remove, "sys/rekey/recovery-key-backup", noBody, withToken, policy.Delete, false, doubleStyle, 0, (*handler).deleteBackup},
})

func rekeyOf(path string) []route {
	const backend = lifecycle | rekeyEndpoint
	return []route{
		{get, path + "init", noBody, anybody, 0, false, bareStyle, backend, (*handler).rekeyStatus},
		{write, path + "init", initBody, withToken, policy.Update, false, bareStyle, backend, (*handler).rekeyStart},
		{remove, path + "init", smallBody, withToken, policy.Delete, false, bareStyle, backend, (*handler).rekeyCancel},
		{write, path + "update", smallBody, anybody, 0, false, bareStyle, backend | shares, (*handler).rekeyUpdate},
		{get, path + "verify", noBody, anybody, 0, false, bareStyle, backend, (*handler).verifyStatus},
		{write, path + "verify", smallBody, anybody, 0, false, bareStyle, backend | shares, (*handler).verifyUpdate},
		{remove, path + "verify", smallBody, withToken, policy.Delete, false, bareStyle, backend, (*handler).verifyRestart},
		{write, path + "acknowledge", smallBody, anybody, 0, false, bareStyle, backend | shares, (*handler).rekeyAcknowledge},
	}
}

var rotateRoutes = slices.Concat([]route{
	{write, "sys/rotate", smallBody, withToken, policy.Update, true, doubleStyle, 0, (*handler).rotate},
	{write, "sys/rotate/keyring", smallBody, withToken, policy.Update, true, doubleStyle, 0, (*handler).rotate},
	{write, "sys/rotate/root", smallBody, withToken, policy.Update, true, envelopeStyle, 0, (*handler).rotateRoot},
	{get, "sys/rotate/config", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).rotationConfig},
	{write, "sys/rotate/config", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).setRotationConfig},
	{get, "sys/rotate/keyring/config", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).rotationConfig},
	{write, "sys/rotate/keyring/config", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).setRotationConfig},
	{get, "sys/key-status", noBody, withToken, policy.Read, false, doubleStyle, 0, (*handler).keyStatus},
	{write, "sys/sealwrap/rewrap", smallBody, withToken, policy.Update, true, envelopeStyle, 0, (*handler).rewrapSeals},
}, rotateOf("sys/rotate/root/"), rotateOf("sys/rotate/recovery/"))

func rotateOf(path string) []route {
	return []route{
		{get, path + "init", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).rekeyStatus},
		{write, path + "init", initBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rekeyStart},
		{remove, path + "init", smallBody, withToken, policy.Delete, false, envelopeStyle, 0, (*handler).rekeyCancel},
		{write, path + "update", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rekeyUpdate},
		{get, path + "verify", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).verifyStatus},
		{write, path + "verify", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).verifyUpdate},
		{remove, path + "verify", smallBody, withToken, policy.Delete, false, envelopeStyle, 0, (*handler).verifyRestart},
		{write, path + "acknowledge", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rekeyAcknowledge},
		{get, path + "backup", noBody, withToken, policy.Read, false, doubleStyle, 0, (*handler).backup},
		{remove, path + "backup", noBody, withToken, policy.Delete, false, doubleStyle, 0, (*handler).deleteBackup},
	}
}

var rootRoutes = []route{
	{get, "sys/generate-root/attempt", noBody, anybody, 0, false, bareStyle, lifecycle | rootEndpoint, (*handler).rootStatus},
	{write, "sys/generate-root/attempt", keyBody, tokenIfAny, policy.Update, false, bareStyle, lifecycle | rootEndpoint, (*handler).rootStart},
	{remove, "sys/generate-root/attempt", smallBody, tokenIfAny, policy.Delete, false, bareStyle, lifecycle | rootEndpoint, (*handler).rootCancel},
	{write, "sys/generate-root/update", smallBody, anybody, 0, false, bareStyle, lifecycle | rootEndpoint | shares, (*handler).rootUpdate},
	{write, "sys/generate-root/acknowledge", smallBody, anybody, 0, false, bareStyle, lifecycle | rootEndpoint | shares, (*handler).rootAcknowledge},
	{get, "sys/generate-root-token/attempt", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).rootStatus},
	{write, "sys/generate-root-token/attempt", keyBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rootStart},
	{remove, "sys/generate-root-token/attempt", smallBody, withToken, policy.Delete, false, envelopeStyle, 0, (*handler).rootCancel},
	{write, "sys/generate-root-token/update", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rootUpdate},
	{write, "sys/generate-root-token/acknowledge", smallBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).rootAcknowledge},
	{write, "sys/decode-token", smallBody, anybody, 0, false, envelopeStyle, here, (*handler).decodeToken},
}

// custodianRoutes are ours: other servers have nothing like it.
var custodianRoutes = []route{
	{get, "sys/recovery/holders", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).holders},
	{write, "sys/recovery/prove", smallBody, anybody, 0, false, bareStyle, shares, (*handler).prove},
	{get, "sys/recovery/transcripts", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).transcripts},
	{listing, "sys/recovery/transcripts", noBody, withToken, policy.List, false, envelopeStyle, 0, (*handler).transcripts},
	{get, "sys/recovery/transcripts/*", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).transcript},
	{get, "sys/recovery/transcript", noBody, withToken, policy.Read, false, envelopeStyle, 0, (*handler).exportTranscript},
}

// Routes that are not in the table because their paths are not fixed.
var (
	// mounted is for whatever lies behind the table of mounts. The capability follows the operation.
	mounted = route{Body: anyBody, Access: withToken, Style: envelopeStyle, handle: (*handler).backend}
	// nothing is for paths below sys/ and auth/ that are not there. A token is asked for first: who has none learns nothing.
	nothing = route{Access: withToken, Style: envelopeStyle, Marks: here, handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errNoPath
	}}
	// wrongMethod is for paths that are there, with another operation.
	wrongMethod = route{Access: withToken, Style: envelopeStyle, Marks: here, handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errUnsupported
	}}
)

// table finds routes.
type table struct {
	exact  map[string]map[string]*route // path, method
	prefix map[string]map[string]*route // path without the "*", method
}

func newTable(all []route) *table {
	t := &table{exact: map[string]map[string]*route{}, prefix: map[string]map[string]*route{}}
	for i := range all {
		in, path := t.exact, all[i].Path
		if before, star := strings.CutSuffix(path, "*"); star {
			in, path = t.prefix, before
		}
		if in[path] == nil {
			in[path] = map[string]*route{}
		}
		for _, method := range all[i].Methods {
			in[path][method] = &all[i]
		}
	}
	return t
}

// find chooses the request's route. The error is that of a lifecycle path with a method that it does not have.
func (t *table) find(q *request) error {
	if !ours(q.path) {
		q.route = &mounted
		return nil
	}
	methods := t.exact[q.path]
	if methods == nil {
		methods = t.exact[strings.TrimSuffix(q.path, "/")]
	}
	if methods == nil {
		for prefix, m := range t.prefix {
			if rest, ok := strings.CutPrefix(q.path, prefix); ok && rest != "" {
				methods, q.rest = m, rest
			}
		}
	}
	if methods == nil {
		q.route = &nothing
		if rest, ok := strings.CutPrefix(q.path, authPath); ok && rest != "" && !strings.HasPrefix(q.path, tokenPath) {
			q.route = &authMounted
		}
		return nil
	}
	if q.route = methods[q.method()]; q.route != nil {
		return nil
	}
	q.route = slices.MinFunc(slices.Collect(maps.Values(methods)), func(a, b *route) int { return int(b.Access) - int(a.Access) })
	if q.route.Marks&lifecycle != 0 || q.route.Access == anybodyAlways {
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
