package operate

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
)

// maxShown bounds the answer of sys/in-flight-req.
const maxShown = 10_000

// inFlight lists the requests that are not answered yet, including this one.
func inFlight(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	return api.Show(h.Shared.InFlight(maxShown))
}
