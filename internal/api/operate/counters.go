package operate

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

// counterRoutes answer what can be counted: tokens. There are no entities, and requests are
// metrics.
var counterRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/internal/counters/tokens", Capability: policy.Read, Handle: countTokens},
	{Methods: api.Get, Path: "sys/internal/counters/entities", Capability: policy.Read, Here: true, Handle: countEntities},
	{Methods: api.Get, Path: "sys/internal/counters/requests", Capability: policy.Read, Here: true, Handle: countRequests},
	{Methods: api.Get, Path: "sys/internal/counters/activity", Capability: policy.Read, Here: true, Handle: noActivity},
	{Methods: api.Get, Path: "sys/internal/counters/config", Capability: policy.Read, Here: true, Handle: counterConfig},
}

var counterDocs = map[string]api.Doc{
	"sys/internal/counters/tokens":   {Text: "Counts the service tokens."},
	"sys/internal/counters/entities": {Text: "Counts the entities: there are none."},
	"sys/internal/counters/requests": {Text: "Requests by month: none are kept; sys/metrics counts requests."},
	"sys/internal/counters/activity": {Text: "The activity log: none is kept."},
	"sys/internal/counters/config":   {Text: "The settings of the activity log, which is not kept."},
}

type total struct {
	Total int `json:"total"`
}

func counters(data any) (*api.Answer, error) { return api.Show(map[string]any{"counters": data}) }

func countTokens(ctx context.Context, _ *api.Handler, q *api.Request) (*api.Answer, error) {
	accessors, err := q.Role.Tokens().Accessors(ctx)
	if err != nil {
		return nil, err
	}
	return counters(map[string]total{"service_tokens": {len(accessors)}})
}

func countEntities(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
	return counters(map[string]total{"entities": {}})
}

func countRequests(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
	return counters([]any{})
}

// noActivity answers as Vault does where no activity was logged.
func noActivity(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
	return &api.Answer{Status: 204}, nil
}

func counterConfig(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
	return api.Show(map[string]any{"enabled": "disable", "queries_available": false, "retention_months": 0})
}
