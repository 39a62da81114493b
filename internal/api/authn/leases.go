package authn

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// leaseRoutes are for leases, which here are the tokens that expire. Older clients leave out
// "leases/".
var leaseRoutes = []api.Route{
	{Methods: api.Write, Path: "sys/leases/lookup", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseLookup},
	{Methods: api.Listing, Path: "sys/leases/lookup", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: leaseNames},
	{Methods: api.Listing, Path: "sys/leases/lookup/*", Capability: policy.List, Sudo: true, Guarded: true,
		Handle: leaseNames},
	{Methods: api.Write, Path: "sys/leases/renew", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRenew},
	{Methods: api.Write, Path: "sys/leases/renew/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRenew},
	{Methods: api.Write, Path: "sys/leases/revoke", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRevoke},
	{Methods: api.Write, Path: "sys/leases/revoke/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRevoke},
	{Methods: api.Write, Path: "sys/leases/revoke-prefix/*", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: leaseRevokePrefix},
	{Methods: api.Write, Path: "sys/leases/revoke-force/*", Body: api.SmallBody, Capability: policy.Update, Sudo: true,
		Guarded: true, Handle: leaseRevokePrefix},
	{Methods: api.Write, Path: "sys/leases/tidy", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseTidy},
	{Methods: api.Write, Path: "sys/renew", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRenew},
	{Methods: api.Write, Path: "sys/renew/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRenew},
	{Methods: api.Write, Path: "sys/revoke", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRevoke},
	{Methods: api.Write, Path: "sys/revoke/*", Body: api.SmallBody, Capability: policy.Update, Guarded: true,
		Handle: leaseRevoke},
	{Methods: api.Write, Path: "sys/revoke-prefix/*", Body: api.SmallBody, Capability: policy.Update,
		Sudo: true, Guarded: true,
		Handle: leaseRevokePrefix},
	{Methods: api.Write, Path: "sys/revoke-force/*", Body: api.SmallBody, Capability: policy.Update,
		Sudo: true, Guarded: true,
		Handle: leaseRevokePrefix},
}

var leaseFields = []api.DocField{
	{"lease_id", "string", "The lease, where it is not in the path."},
	{"url_lease_id", "string", "The same, as older clients name it."},
	{"increment", "duration", "To renew: for how long."},
	{"sync", "boolean", "To revoke: accepted from clients; it is done when it is answered."},
}

var leaseDocs = func() map[string]api.Doc {
	all := map[string]api.Doc{
		"sys/leases/lookup":   {Text: "Shows a lease.", Read: true, Body: leaseFields},
		"sys/leases/lookup/*": {Text: "Lists leases below a prefix.", Param: "prefix"},
		"sys/leases/tidy":     {Text: "Checks every token once, and removes what is left over.", Later: true},
	}
	for _, before := range []string{"sys/leases/", "sys/"} {
		all[before+"renew"] = api.Doc{Text: "Prolongs a lease.", Read: true, Body: leaseFields}
		all[before+"renew/*"] = api.Doc{Text: "Prolongs a lease.", Param: "url_lease_id", Read: true, Body: leaseFields}
		all[before+"revoke"] = api.Doc{Text: "Revokes a lease.", Empty: true, Body: leaseFields}
		all[before+"revoke/*"] = api.Doc{Text: "Revokes a lease.", Param: "url_lease_id", Empty: true, Body: leaseFields}
		all[before+"revoke-prefix/*"] = api.Doc{Text: "Revokes all leases below a prefix.", Param: "prefix",
			Empty: true, Body: leaseFields}
		all[before+"revoke-force/*"] = api.Doc{Text: "The same: nothing here can fail half-way.", Param: "prefix",
			Empty: true, Body: leaseFields}
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

// lease finds the token of a lease; ok is false if there is none.
func lease(ctx context.Context, q *api.Request) (who token.Identity, id string, ok bool, err error) {
	for _, name := range []string{"lease_id", "url_lease_id"} {
		if id == "" {
			if err := q.Param(name, &id); err != nil {
				return who, "", false, err
			}
		}
	}
	if id == "" {
		id = q.Rest
	}
	if id == "" {
		return who, "", false, fault.New(fault.Invalid, "lease_id must be specified")
	}
	who, err = q.Role.Tokens().ByLease(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return who, id, false, nil
	}
	return who, id, err == nil, err
}

func leaseLookup(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, id, ok, err := lease(ctx, q)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "invalid lease")
	}
	t := who.Token()
	a := leaseAnswer{
		ExpireTime: t.Expires.Format(time.RFC3339Nano), ID: id, IssueTime: t.Created.Format(time.RFC3339Nano),
		Renewable: t.Renewable,
		TTL:       api.InSeconds(t.Left(h.Now())),
	}
	if !t.Renewed.IsZero() {
		renewed := t.Renewed.Format(time.RFC3339Nano)
		a.LastRenewal = &renewed
	}
	return api.Show(a)
}

func leaseRenew(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, id, ok, err := lease(ctx, q)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Invalid, "lease not found")
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var increment time.Duration
	if err := field.Map(data).Duration("increment", &increment); err != nil {
		return nil, err
	}
	who, warnings, err := q.Role.Tokens().Renew(ctx, who, increment)
	if err != nil {
		return nil, err
	}
	t := who.Token()
	return &api.Answer{LeaseID: id, Renewable: t.Renewable, Lease: int(api.InSeconds(lifeGranted(t))), Warnings: warnings},
		nil
}

// leaseRevoke revokes a lease. An absent one is not an error.
func leaseRevoke(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	who, _, ok, err := lease(ctx, q)
	if err != nil || !ok {
		return nil, err
	}
	if err := q.Role.Tokens().End(ctx, who); err != nil {
		return nil, err
	}
	return api.Done()
}

func leaseRevokePrefix(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := q.Role.Tokens().RevokePath(ctx, strings.Trim(q.Rest, "/")+"/", time.Time{}); err != nil {
		return nil, err
	}
	return api.Done()
}

// maxLeases bounds one answer.
const maxLeases = 10_000

func leaseNames(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	prefix := strings.Trim(q.Rest, "/")
	if prefix != "" {
		prefix += "/"
	}
	names, more, err := q.Role.Tokens().LeaseNames(ctx, prefix, maxLeases)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	a := &api.Answer{Data: map[string][]string{"keys": names}}
	if more {
		a.Warnings = []string{"There are more leases than these: name a longer prefix."}
	}
	return a, nil
}

func leaseTidy(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	q.Role.Tokens().Tidy()
	return &api.Answer{Status: http.StatusAccepted, Warnings: []string{
		"Tidy operation successfully started. Any information from the operation will be printed to the server logs.",
	}}, nil
}
