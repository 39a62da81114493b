package operate

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

type corsAnswer struct {
	Enabled bool     `json:"enabled"`
	Origins []string `json:"allowed_origins,omitempty"`
	Headers []string `json:"allowed_headers,omitempty"`
}

func readCORS(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Shared.Settings.Get(ctx, q.Role)
	if err != nil {
		return nil, err
	}
	a := corsAnswer{Enabled: s.CORS.Enabled}
	if s.CORS.Enabled {
		a.Origins, a.Headers = s.CORS.Origins, append(append([]string{}, api.CORSHeaders...), s.CORS.Headers...)
	}
	return api.Show(a)
}

func writeCORS(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	c, f := settings.CORS{Version: settings.Version, Enabled: true}, field.Map(data)
	for _, err := range []error{f.Names("allowed_origins", &c.Origins), f.Names("allowed_headers", &c.Headers),
		f.Flag("enabled", &c.Enabled)} {
		if err != nil {
			return nil, err
		}
	}
	if len(c.Origins) == 0 {
		return nil, fault.New(fault.Invalid, "at least one origin or the wildcard must be provided")
	}
	for _, o := range c.Origins {
		if o == "*" && len(c.Origins) > 1 {
			return nil, fault.New(fault.Invalid, "to allow all origins the '*' must be the only value for allowed_origins")
		}
	}
	if err := h.Shared.Settings.Change(ctx, q.Role, settings.PathCORS, c); err != nil {
		return nil, err
	}
	return api.Done()
}

func deleteCORS(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if err := h.Shared.Settings.Change(ctx, q.Role, settings.PathCORS, nil); err != nil {
		return nil, err
	}
	return api.Done()
}
