package policies

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// passwordRoutes are for policies that generate passwords: a read of
// sys/policies/password/<name>/generate returns one.
var passwordRoutes = []api.Route{
	{Methods: api.Listing, Path: "sys/policies/password", Capability: policy.List, Here: true,
		Handle: passwordPolicies},
	{Methods: api.Get, Path: "sys/policies/password/*", Capability: policy.Read, Here: true,
		Handle: passwordPolicy},
	{Methods: api.Write, Path: "sys/policies/password/*", Body: policyBody, Capability: policy.Create | policy.Update,
		Handle: writePasswordPolicy},
	{Methods: api.Remove, Path: "sys/policies/password/*", Capability: policy.Delete,
		Handle: deletePasswordPolicy},
}

func passwordPolicies(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return api.List(q.Role.Tokens().PasswordPolicies(ctx))
}

func passwordPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if name, ok := strings.CutSuffix(q.Rest, "/generate"); ok && checkPasswordName(name) == nil {
		password, err := q.Role.Tokens().NewPassword(ctx, name)
		if err != nil {
			return api.OrNotFound(err)
		}
		return api.Show(struct {
			Password string `json:"password"`
		}{password})
	}
	text, err := q.Role.Tokens().PasswordPolicy(ctx, q.Rest)
	if err != nil {
		return api.OrNotFound(err)
	}
	return api.Show(struct {
		Policy string `json:"policy"`
	}{text})
}

func checkPasswordName(name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fault.New(fault.Invalid, "the name of a password policy has no slash")
	}
	return nil
}

func writePasswordPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := checkPasswordName(q.Rest); err != nil {
		return nil, err
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var text string
	if err := field.Map(data).Text("policy", &text); err != nil {
		return nil, err
	}
	return nil, q.Role.Tokens().WritePasswordPolicy(ctx, q.Rest, text)
}

func deletePasswordPolicy(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	return nil, q.Role.Tokens().DeletePasswordPolicy(ctx, q.Rest)
}
