package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/field"
)

func rotate(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if err := h.Node.Rotate(ctx); err != nil {
		return nil, err
	}
	return api.Done()
}

func rotateRoot(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if err := h.Node.RotateRoot(ctx); err != nil {
		return nil, err
	}
	return api.Done()
}

// rewrapSeals lets every seal wrap the root key again, by the newest version of its key.
func rewrapSeals(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if err := h.Node.RewrapSeals(ctx); err != nil {
		return nil, err
	}
	return api.Done()
}

type rotationAnswer struct {
	Enabled       bool  `json:"enabled"`
	Interval      any   `json:"interval"` // as in Vault the number 0 for none, else a text such as "24h0m0s"
	MaxOperations int64 `json:"max_operations"`
}

func rotationConfig(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	c, err := h.Node.RotationConfig(ctx)
	if err != nil {
		return nil, err
	}
	a := rotationAnswer{Enabled: c.Enabled, Interval: 0, MaxOperations: c.MaxOperations}
	if c.Interval != 0 {
		a.Interval = c.Interval.String()
	}
	return api.Show(a)
}

// setRotationConfig changes the fields that are given.
func setRotationConfig(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	c, err := h.Node.RotationConfig(ctx)
	if err != nil {
		return nil, err
	}
	f := field.Map(data)
	for _, err := range []error{
		f.Flag("enabled", &c.Enabled), f.Duration("interval", &c.Interval), f.Number("max_operations", &c.MaxOperations),
	} {
		if err != nil {
			return nil, err
		}
	}
	if err := h.Node.SetRotationConfig(ctx, c); err != nil {
		return nil, err
	}
	return api.Done()
}

type keyStatusAnswer struct {
	Encryptions uint64 `json:"encryptions"`
	InstallTime string `json:"install_time"`
	Term        uint32 `json:"term"`
}

func keyStatus(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	s, err := h.Node.KeyStatus()
	if err != nil {
		return nil, err
	}
	return api.Show(keyStatusAnswer{Encryptions: s.Encryptions, InstallTime: s.Installed.UTC().Format(time.RFC3339Nano),
		Term: s.Term})
}
