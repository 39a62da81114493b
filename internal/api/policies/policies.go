package policies

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// policyRoutes are for policies, by their old paths and their new ones, and for what they allow a
// token.
var policyRoutes = []api.Route{
	{Methods: []string{"GET", "LIST"}, Path: "sys/policy", Capability: policy.Read | policy.List, Style: api.DoubleStyle,
		Handle: legacyPolicies},
	{Methods: api.Get, Path: "sys/policy/*", Fold: true, Capability: policy.Read, Style: api.DoubleStyle, Here: true,
		Handle: legacyPolicy},
	{Methods: api.Write, Path: "sys/policy/*", Fold: true, Body: policyBody, Capability: policy.Update,
		Style:  api.DoubleStyle,
		Handle: writePolicy},
	{Methods: api.Remove, Path: "sys/policy/*", Fold: true, Capability: policy.Delete, Style: api.DoubleStyle,
		Handle: deletePolicy},
	{Methods: api.Listing, Path: "sys/policies/acl", Capability: policy.List, Here: true, Handle: listPolicies},
	{Methods: api.Get, Path: "sys/policies/acl/*", Fold: true, Capability: policy.Read, Here: true, Handle: showPolicy},
	{Methods: api.Write, Path: "sys/policies/acl/*", Fold: true, Body: policyBody, Capability: policy.Update,
		Handle: writePolicy},
	{Methods: []string{"PATCH"}, Path: "sys/policies/acl/*", Fold: true, Body: policyBody, Capability: policy.Patch,
		Handle: patchPolicy},
	{Methods: api.Remove, Path: "sys/policies/acl/*", Fold: true, Capability: policy.Delete, Handle: deletePolicy},
	{Methods: api.Listing, Path: "sys/policies/detailed/acl", Capability: policy.List, Here: true,
		Handle: listPolicies},
	{Methods: api.Get, Path: "sys/policies/detailed/acl/*", Fold: true, Capability: policy.Read, Here: true,
		Handle: detailedPolicy},

	{Methods: api.Write, Path: "sys/capabilities", Body: api.SmallBody, Capability: policy.Update, Style: api.DoubleStyle,
		Here: true, Guarded: true, Handle: tokenCapabilities},
	{Methods: api.Write, Path: "sys/capabilities-self", Body: api.SmallBody, Capability: policy.Update,
		Style: api.DoubleStyle,
		Here:  true, Guarded: true, Handle: capabilitiesSelf},
	{Methods: api.Write, Path: "sys/capabilities-accessor", Body: api.SmallBody, Capability: policy.Update,
		Style: api.DoubleStyle, Here: true, Guarded: true, Handle: capabilitiesAccessor},
	{Methods: api.Get, Path: "sys/internal/ui/resultant-acl", Capability: policy.Read, Here: true,
		Handle: resultantACL},
}

// policyBody bounds a document in base64, with the other fields.
const policyBody = 1 << 20

func listPolicies(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return api.List(q.Role.Tokens().PolicyNames(ctx))
}

func legacyPolicies(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	names, err := q.Role.Tokens().PolicyNames(ctx)
	if err != nil {
		return nil, err
	}
	return api.Show(struct {
		Keys     []string `json:"keys"`
		Policies []string `json:"policies"`
	}{names, names})
}

// document reads the policy of the path; nil if there is none.
func document(ctx context.Context, q *api.Request) (*token.Document, error) {
	d, err := q.Role.Tokens().Policy(ctx, q.Rest)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return d, err
}

func legacyPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	d, err := document(ctx, q)
	if d == nil {
		return nil, err
	}
	return api.Show(struct {
		Name  string `json:"name"`
		Rules string `json:"rules"`
	}{d.Name, d.Text})
}

// showPolicy returns name and text alone, which is all that strict clients accept, unless the
// policy uses what OpenBao has added.
func showPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	d, err := document(ctx, q)
	if d == nil {
		return nil, err
	}
	if d.CASRequired || !d.Expiration.IsZero() {
		return api.Show(describePolicy(d))
	}
	return api.Show(struct {
		Name   string `json:"name"`
		Policy string `json:"policy"`
	}{d.Name, d.Text})
}

func detailedPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	d, err := document(ctx, q)
	if d == nil {
		return nil, err
	}
	return api.Show(describePolicy(d))
}

type policyAnswer struct {
	CASRequired bool      `json:"cas_required"`
	Expiration  time.Time `json:"expiration,omitzero"`
	Modified    time.Time `json:"modified"`
	Name        string    `json:"name"`
	Policy      string    `json:"policy"`
	Version     int       `json:"version"`
}

func describePolicy(d *token.Document) policyAnswer {
	return policyAnswer{d.CASRequired, d.Expiration, d.Modified, d.Name, d.Text, d.Version}
}

func writePolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	f, w := field.Map(data), token.PolicyWrite{Name: q.Rest}
	if err := f.Text("policy", &w.Text); err != nil {
		return nil, err
	}
	if w.Text == "" && strings.HasPrefix(q.Path, "sys/policy/") {
		if err := f.Text("rules", &w.Text); err != nil {
			return nil, err
		}
	}
	if err := readPolicyOptions(h, f, &w); err != nil {
		return nil, err
	}
	if err := q.Role.Tokens().WritePolicy(ctx, w); err != nil {
		return nil, err
	}
	if q.Folded {
		return &api.Answer{Warnings: []string{fmt.Sprintf("policy name was converted to %q", q.Rest)}}, nil
	}
	return api.Done()
}

// patchPolicy changes the fields that are given of an existing policy.
func patchPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := q.CheckPatchType(); err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	f, w := field.Map(data), token.PolicyWrite{Name: q.Rest, Patch: true}
	if err := f.Text("policy", &w.Text); err != nil {
		return nil, err
	}
	if err := readPolicyOptions(h, f, &w); err != nil {
		return nil, err
	}
	if err := q.Role.Tokens().WritePolicy(ctx, w); err != nil {
		return api.OrBareNotFound(err)
	}
	return api.Done()
}

// readPolicyOptions reads the fields that OpenBao has added.
func readPolicyOptions(h *api.Handler, f field.Map, w *token.PolicyWrite) error {
	var ttl time.Duration
	if err := f.Duration("ttl", &ttl); err != nil {
		return err
	}
	if ttl < 0 {
		return field.Invalid("ttl", "a duration that is not negative")
	}
	if ttl > 0 {
		w.Expiration = h.Now().Add(ttl)
	}
	var at string
	if err := f.Text("expiration", &at); err != nil {
		return err
	}
	if at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return field.Invalid("expiration", `a time such as "2030-01-02T15:04:05Z"`)
		}
		w.Expiration = t
	}
	if !w.Expiration.IsZero() && !w.Expiration.After(h.Now()) {
		return field.Invalid("expiration", "in the future")
	}
	if f["cas_required"] != nil {
		w.CASRequired = new(bool)
		if err := f.Flag("cas_required", w.CASRequired); err != nil {
			return err
		}
	}
	if f["cas"] != nil {
		var n int64
		if err := f.Number("cas", &n); err != nil {
			return err
		}
		cas := int(n)
		w.CAS = &cas
	}
	return nil
}

func deletePolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return nil, q.Role.Tokens().DeletePolicy(ctx, q.Rest)
}
