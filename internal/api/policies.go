package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
)

// policyRoutes are the policies twice, as they were called once and as they are now; and what follows from them for a token.
var policyRoutes = []route{
	{[]string{"GET", "LIST"}, "sys/policy", noBody, withToken, policy.Read | policy.List, false, doubleStyle, 0, (*handler).legacyPolicies},
	{get, "sys/policy/*", noBody, withToken, policy.Read, false, doubleStyle, here, (*handler).legacyPolicy},
	{write, "sys/policy/*", policyBody, withToken, policy.Update, false, doubleStyle, 0, (*handler).writePolicy},
	{remove, "sys/policy/*", noBody, withToken, policy.Delete, false, doubleStyle, 0, (*handler).deletePolicy},
	{listing, "sys/policies/acl", noBody, withToken, policy.List, false, envelopeStyle, here, (*handler).policies},
	{get, "sys/policies/acl/*", noBody, withToken, policy.Read, false, envelopeStyle, here, (*handler).policy},
	{write, "sys/policies/acl/*", policyBody, withToken, policy.Update, false, envelopeStyle, 0, (*handler).writePolicy},
	{[]string{"PATCH"}, "sys/policies/acl/*", policyBody, withToken, policy.Patch, false, envelopeStyle, 0, (*handler).patchPolicy},
	{remove, "sys/policies/acl/*", noBody, withToken, policy.Delete, false, envelopeStyle, 0, (*handler).deletePolicy},
	{listing, "sys/policies/detailed/acl", noBody, withToken, policy.List, false, envelopeStyle, here, (*handler).policies},
	{get, "sys/policies/detailed/acl/*", noBody, withToken, policy.Read, false, envelopeStyle, here, (*handler).detailedPolicy},

	{write, "sys/capabilities", smallBody, withToken, policy.Update, false, doubleStyle, here, (*handler).capabilities},
	{write, "sys/capabilities-self", smallBody, withToken, policy.Update, false, doubleStyle, here, (*handler).capabilitiesSelf},
	{write, "sys/capabilities-accessor", smallBody, withToken, policy.Update, false, doubleStyle, here, (*handler).capabilitiesAccessor},
	{get, "sys/internal/ui/resultant-acl", noBody, withToken, policy.Read, false, envelopeStyle, here, (*handler).resultantACL},
}

// policyBody is a document in base64, and what stands around it.
const policyBody = 1 << 20

func (h *handler) policies(ctx context.Context, q *request) (*answer, error) {
	return listed(q.state.Tokens().PolicyNames(ctx))
}

func (h *handler) legacyPolicies(ctx context.Context, q *request) (*answer, error) {
	names, err := q.state.Tokens().PolicyNames(ctx)
	if err != nil {
		return nil, err
	}
	return shown(struct {
		Keys     []string `json:"keys"`
		Policies []string `json:"policies"`
	}{names, names})
}

// document reads the policy of the path; nil: there is none.
func (q *request) document(ctx context.Context) (*token.Document, error) {
	d, err := q.state.Tokens().Policy(ctx, q.rest)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return d, err
}

func (h *handler) legacyPolicy(ctx context.Context, q *request) (*answer, error) {
	d, err := q.document(ctx)
	if d == nil {
		return nil, err
	}
	return shown(struct {
		Name  string `json:"name"`
		Rules string `json:"rules"`
	}{d.Name, d.Text})
}

// policy gives name and text alone, which is all that strict clients take, where nobody uses more of what OpenBao has added.
func (h *handler) policy(ctx context.Context, q *request) (*answer, error) {
	d, err := q.document(ctx)
	if d == nil {
		return nil, err
	}
	if d.CASRequired || !d.Expiration.IsZero() {
		return shown(describePolicy(d))
	}
	return shown(struct {
		Name   string `json:"name"`
		Policy string `json:"policy"`
	}{d.Name, d.Text})
}

func (h *handler) detailedPolicy(ctx context.Context, q *request) (*answer, error) {
	d, err := q.document(ctx)
	if d == nil {
		return nil, err
	}
	return shown(describePolicy(d))
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

func (h *handler) writePolicy(ctx context.Context, q *request) (*answer, error) {
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	f, w := fields(data), token.PolicyWrite{Name: q.rest}
	if err := f.text("policy", &w.Text); err != nil {
		return nil, err
	}
	if w.Text == "" && strings.HasPrefix(q.path, "sys/policy/") {
		if err := f.text("rules", &w.Text); err != nil {
			return nil, err
		}
	}
	if err := h.readPolicyOptions(f, &w); err != nil {
		return nil, err
	}
	if err := q.state.Tokens().WritePolicy(ctx, w); err != nil {
		return nil, err
	}
	if lower := strings.ToLower(q.rest); lower != q.rest {
		return &answer{warnings: []string{fmt.Sprintf("policy name was converted to %q", lower)}}, nil
	}
	return done()
}

// patchPolicy changes what is given of a policy that is there, and leaves the rest.
func (h *handler) patchPolicy(ctx context.Context, q *request) (*answer, error) {
	if err := q.checkPatchType(); err != nil {
		return nil, err
	}
	data, err := q.fields()
	if err != nil {
		return nil, err
	}
	f, w := fields(data), token.PolicyWrite{Name: q.rest, Patch: true}
	if err := f.text("policy", &w.Text); err != nil {
		return nil, err
	}
	if err := h.readPolicyOptions(f, &w); err != nil {
		return nil, err
	}
	if err := q.state.Tokens().WritePolicy(ctx, w); err != nil {
		return orNothingThere(err)
	}
	return done()
}

// orNothingThere is the answer to a change of what is not there.
func orNothingThere(err error) (*answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, errNoSuchPage
	}
	return nil, err
}

// readPolicyOptions reads what OpenBao has added.
func (h *handler) readPolicyOptions(f fields, w *token.PolicyWrite) error {
	var ttl time.Duration
	if err := f.duration("ttl", &ttl); err != nil {
		return err
	}
	if ttl < 0 {
		return badField("ttl", "a duration that is not negative")
	}
	if ttl > 0 {
		w.Expiration = h.Now().Add(ttl)
	}
	var at string
	if err := f.text("expiration", &at); err != nil {
		return err
	}
	if at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return badField("expiration", `a time such as "2030-01-02T15:04:05Z"`)
		}
		w.Expiration = t
	}
	if !w.Expiration.IsZero() && !w.Expiration.After(h.Now()) {
		return badField("expiration", "in the future")
	}
	if f["cas_required"] != nil {
		w.CASRequired = new(bool)
		if err := f.flag("cas_required", w.CASRequired); err != nil {
			return err
		}
	}
	if f["cas"] != nil {
		var n int64
		if err := f.number("cas", &n); err != nil {
			return err
		}
		cas := int(n)
		w.CAS = &cas
	}
	return nil
}

func (h *handler) deletePolicy(ctx context.Context, q *request) (*answer, error) {
	return nil, q.state.Tokens().DeletePolicy(ctx, q.rest)
}
