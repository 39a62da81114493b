package sys

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
)

var gatewayRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/gateways", Capability: policy.Read, Here: true, Handle: gateways},
}

var gatewayDocs = map[string]api.Doc{
	"sys/gateways": {Text: "Lists the gateways of this node: the Kubernetes KMS v2 sockets with their health, and the " +
		"proxy of AWS external key stores."},
}

type gatewaysAnswer struct {
	Gateways []api.Gateway `json:"gateways"`
}

func gateways(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	a := gatewaysAnswer{[]api.Gateway{}}
	if h.Gateways != nil {
		a.Gateways = append(a.Gateways, h.Gateways(ctx)...)
	}
	return api.Show(a)
}
