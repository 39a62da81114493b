package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// leaseRoutes are about leases, which here are the tokens that expire. The paths without "leases/" are older.
var leaseRoutes = []route{
	{Methods: write, Path: "sys/leases/lookup", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseLookup},
	{Methods: listing, Path: "sys/leases/lookup", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: (*handler).leaseNames},
	{Methods: listing, Path: "sys/leases/lookup/*", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: (*handler).leaseNames},
	{Methods: write, Path: "sys/leases/renew", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseRenew},
	{Methods: write, Path: "sys/leases/renew/*", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseRenew},
	{Methods: write, Path: "sys/leases/revoke", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseRevoke},
	{Methods: write, Path: "sys/leases/revoke/*", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseRevoke},
	{Methods: write, Path: "sys/leases/revoke-prefix/*", Body: smallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: (*handler).leaseRevokePrefix},
	{Methods: write, Path: "sys/leases/revoke-force/*", Body: smallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: (*handler).leaseRevokePrefix},
	{Methods: write, Path: "sys/leases/tidy", Body: smallBody, Capability: policy.Update, Guarded: true,
		Handle: (*handler).leaseTidy},
	{Methods: write, Path: "sys/renew", Body: smallBody, Capability: policy.Update, Guarded: true, Handle: (*handler).leaseRenew},
	{Methods: write, Path: "sys/renew/*", Body: smallBody, Capability: policy.Update, Guarded: true, Handle: (*handler).leaseRenew},
	{Methods: write, Path: "sys/revoke", Body: smallBody, Capability: policy.Update, Guarded: true, Handle: (*handler).leaseRevoke},
	{Methods: write, Path: "sys/revoke/*", Body: smallBody, Capability: policy.Update, Guarded: true, Handle: (*handler).leaseRevoke},
	{Methods: write, Path: "sys/revoke-prefix/*", Body: smallBody, Capability: policy.Update, Sudo: true, Guarded: true,
		Handle: (*handler).leaseRevokePrefix},
	{Methods: write, Path: "sys/revoke-force/*", Body: smallBody, Capability: policy.Update, Sudo: true, Guarded: true,
		Handle: (*handler).leaseRevokePrefix},
}

var leaseFields = []docField{
	{"lease_id", "string", "The lease, where it is not in the path."}, {"url_lease_id", "string", "The same, as older clients name it."},
	{"increment", "duration", "To renew: for how long."},
	{"sync", "boolean", "To revoke: accepted from clients; it is done when it is answered."},
}

var leaseDocs = func() map[string]doc {
	all := map[string]doc{
		"sys/leases/lookup":   {Text: "Tells about a lease.", Read: true, Body: leaseFields},
		"sys/leases/lookup/*": {Text: "Lists leases below a prefix.", Param: "prefix"},
		"sys/leases/tidy":     {Text: "Looks at every token once, for what nothing else would find.", Later: true},
	}
	for _, before := range []string{"sys/leases/", "sys/"} {
		all[before+"renew"] = doc{Text: "Prolongs a lease.", Read: true, Body: leaseFields}
		all[before+"renew/*"] = doc{Text: "Prolongs a lease.", Param: "url_lease_id", Read: true, Body: leaseFields}
		all[before+"revoke"] = doc{Text: "Ends a lease.", Empty: true, Body: leaseFields}
		all[before+"revoke/*"] = doc{Text: "Ends a lease.", Param: "url_lease_id", Empty: true, Body: leaseFields}
		all[before+"revoke-prefix/*"] = doc{Text: "Ends all leases below a prefix.", Param: "prefix", Empty: true, Body: leaseFields}
		all[before+"revoke-force/*"] = doc{Text: "The same: nothing here can fail half-way.", Param: "prefix", Empty: true, Body: leaseFields}
	}
	return all
}()

type leaseAnswer struct {
	ExpireTime  string  `json:"expire_time"`
	ID          string  `json:"id"`
	IssueTime   string  `json:"issue_time"`
	LastRenewal *string `json:"last_renewal"`
	Renewable   bool    `json:"renewable"`
	TTL         int64   `json:"ttl"`
}

// lease finds the token of a lease; ok is false where there is none.
func (q *request) lease(ctx context.Context) (who token.Identity, id string, ok bool, err error) {
	for _, name := range []string{"lease_id", "url_lease_id"} {
		if id == "" {
			if err := q.param(name, &id); err != nil {
				return who, "", false, err
			}
		}
	}
	if id == "" {
		id = q.rest
	}
	if id == "" {
		return who, "", false, fault.New(fault.Invalid, "lease_id must be specified")
	}
	who, err = q.state.Tokens().ByLease(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return who, id, false, nil
	}
	return who, id, err == nil, err
}

func (h *handler) leaseLookup(ctx context.Context, q *request) (*answer, error) {
	who, id, ok, err := q.lease(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "invalid lease")
	}
	t := who.Token()
	a := leaseAnswer{
		ExpireTime: t.Expires.Format(time.RFC3339Nano), ID: id, IssueTime: t.Created.Format(time.RFC3339Nano), Renewable: t.Renewable,
		TTL: inSeconds(t.Left(h.Now())),
	}
	if !t.Renewed.IsZero() {
		renewed := t.Renewed.Format(time.RFC3339Nano)
		a.LastRenewal = &renewed
	}
	return shown(a)
}

func (h *handler) leaseRenew(ctx context.Context, q *request) (*answer, error) {
	who, id, ok, err := q.lease(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "lease not found")
	}
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	var increment time.Duration
	if err := field.Map(data).Duration("increment", &increment); err != nil {
		return nil, err
	}
	who, warnings, err := q.state.Tokens().Renew(ctx, who, increment)
	if err != nil {
		return nil, err
	}
	t := who.Token()
	return &answer{leaseID: id, renewable: t.Renewable, lease: int(inSeconds(lifeGranted(t))), warnings: warnings}, nil
}

// leaseRevoke ends a lease. That there is none is no error.
func (h *handler) leaseRevoke(ctx context.Context, q *request) (*answer, error) {
	who, _, ok, err := q.lease(ctx)
	if err != nil || !ok {
		return nil, err
	}
	if err := q.state.Tokens().End(ctx, who); err != nil {
		return nil, err
	}
	return done()
}

func (h *handler) leaseRevokePrefix(ctx context.Context, q *request) (*answer, error) {
	if err := q.state.Tokens().RevokePath(ctx, strings.Trim(q.rest, "/")+"/", time.Time{}); err != nil {
		return nil, err
	}
	return done()
}

// maxLeases bounds one answer.
const maxLeases = 10_000

func (h *handler) leaseNames(ctx context.Context, q *request) (*answer, error) {
	prefix := strings.Trim(q.rest, "/")
	if prefix != "" {
		prefix += "/"
	}
	names, more, err := q.state.Tokens().LeaseNames(ctx, prefix, maxLeases)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	a := &answer{data: map[string][]string{"keys": names}}
	if more {
		a.warnings = []string{"There are more leases than these: name a longer prefix."}
	}
	return a, nil
}

func (h *handler) leaseTidy(_ context.Context, q *request) (*answer, error) {
	q.state.Tokens().Tidy()
	return &answer{status: http.StatusAccepted, warnings: []string{
		"Tidy operation successfully started. Any information from the operation will be printed to the server logs.",
	}}, nil
}
