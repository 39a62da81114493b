package api

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// passwordRoutes are the policies by which passwords are made. A password is read at sys/policies/password/<name>/generate.
var passwordRoutes = []route{
	{Methods: listing, Path: "sys/policies/password", Capability: policy.List, Here: true,
		Handle: (*handler).passwordPolicies},
	{Methods: get, Path: "sys/policies/password/*", Capability: policy.Read, Here: true,
		Handle: (*handler).passwordPolicy},
	{Methods: write, Path: "sys/policies/password/*", Body: policyBody, Capability: policy.Create | policy.Update,
		Handle: (*handler).writePasswordPolicy},
	{Methods: remove, Path: "sys/policies/password/*", Capability: policy.Delete,
		Handle: (*handler).deletePasswordPolicy},
}

func (h *handler) passwordPolicies(ctx context.Context, q *request) (*answer, error) {
	return listed(q.state.Tokens().PasswordPolicies(ctx))
}

func (h *handler) passwordPolicy(ctx context.Context, q *request) (*answer, error) {
	if name, ok := strings.CutSuffix(q.rest, "/generate"); ok && checkPasswordName(name) == nil {
		password, err := q.state.Tokens().NewPassword(ctx, name)
		if err != nil {
			return orNothing(err)
		}
		return shown(struct {
			Password string `json:"password"`
		}{password})
	}
	text, err := q.state.Tokens().PasswordPolicy(ctx, q.rest)
	if err != nil {
		return orNothing(err)
	}
	return shown(struct {
		Policy string `json:"policy"`
	}{text})
}

// orNothing is the answer to a read of what is not there.
func orNothing(err error) (*answer, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return nil, err
}

func checkPasswordName(name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fault.New(fault.Invalid, "the name of a password policy has no slash")
	}
	return nil
}

func (h *handler) writePasswordPolicy(ctx context.Context, q *request) (*answer, error) {
	if err := checkPasswordName(q.rest); err != nil {
		return nil, err
	}
	data, err := q.object()
	if err != nil {
		return nil, err
	}
	var text string
	if err := field.Map(data).Text("policy", &text); err != nil {
		return nil, err
	}
	return nil, q.state.Tokens().WritePasswordPolicy(ctx, q.rest, text)
}

func (h *handler) deletePasswordPolicy(ctx context.Context, q *request) (*answer, error) {
	return nil, q.state.Tokens().DeletePasswordPolicy(ctx, q.rest)
}
