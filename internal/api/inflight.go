package api

import "context"

// maxShown bounds the answer of sys/in-flight-req.
const maxShown = 10_000

// inFlight lists the requests that are not answered yet, including this one.
func (h *handler) inFlight(context.Context, *request) (*answer, error) {
	return shown(h.Shared.InFlight(maxShown))
}
