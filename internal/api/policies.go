package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// policyRoutes are the policies twice, as they were called once and as they are now; and what follows from them for a token.
var policyRoutes = []route{
	{Methods: []string{"GET", "LIST"}, Path: "sys/policy", Capability: policy.Read | policy.List, Style: doubleStyle,
		Handle: (*handler).legacyPolicies},
	{Methods: get, Path: "sys/policy/*", Capability: policy.Read, Style: doubleStyle, Here: true,
		Handle: (*handler).legacyPolicy},
	{Methods: write, Path: "sys/policy/*", Body: policyBody, Capability: policy.Update, Style: doubleStyle,
		Handle: (*handler).writePolicy},
	{Methods: remove, Path: "sys/policy/*", Capability: policy.Delete, Style: doubleStyle,
		Handle: (*handler).deletePolicy},
	{Methods: listing, Path: "sys/policies/acl", Capability: policy.List, Here: true, Handle: (*handler).policies},
	{Methods: get, Path: "sys/policies/acl/*", Capability: policy.Read, Here: true, Handle: (*handler).policy},
	{Methods: write, Path: "sys/policies/acl/*", Body: policyBody, Capability: policy.Update,
		Handle: (*handler).writePolicy},
	{Methods: []string{"PATCH"}, Path: "sys/policies/acl/*", Body: policyBody, Capability: policy.Patch,
		Handle: (*handler).patchPolicy},
	{Methods: remove, Path: "sys/policies/acl/*", Capability: policy.Delete, Handle: (*handler).deletePolicy},
	{Methods: listing, Path: "sys/policies/detailed/acl", Capability: policy.List, Here: true,
		Handle: (*handler).policies},
	{Methods: get, Path: "sys/policies/detailed/acl/*", Capability: policy.Read, Here: true,
		Handle: (*handler).detailedPolicy},

	{Methods: write, Path: "sys/capabilities", Body: smallBody, Capability: policy.Update, Style: doubleStyle,
		Here: true, Guarded: true, Handle: (*handler).capabilities},
	{Methods: write, Path: "sys/capabilities-self", Body: smallBody, Capability: policy.Update, Style: doubleStyle,
		Here: true, Guarded: true, Handle: (*handler).capabilitiesSelf},
	{Methods: write, Path: "sys/capabilities-accessor", Body: smallBody, Capability: policy.Update,
		Style: doubleStyle, Here: true, Guarded: true, Handle: (*handler).capabilitiesAccessor},
	{Methods: get, Path: "sys/internal/ui/resultant-acl", Capability: policy.Read, Here: true,
		Handle: (*handler).resultantACL},
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
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	f, w := field.Map(data), token.PolicyWrite{Name: q.rest}
	if err := f.Text("policy", &w.Text); err != nil {
		return nil, err
	}
	if w.Text == "" && strings.HasPrefix(q.path, "sys/policy/") {
		if err := f.Text("rules", &w.Text); err != nil {
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
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	f, w := field.Map(data), token.PolicyWrite{Name: q.rest, Patch: true}
	if err := f.Text("policy", &w.Text); err != nil {
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
func (h *handler) readPolicyOptions(f field.Map, w *token.PolicyWrite) error {
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

func (h *handler) deletePolicy(ctx context.Context, q *request) (*answer, error) {
	return nil, q.state.Tokens().DeletePolicy(ctx, q.rest)
}
