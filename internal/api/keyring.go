package api

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/field"
)

func (h *handler) rotate(ctx context.Context, _ *request) (*answer, error) {
	if err := h.Node.Rotate(ctx); err != nil {
		return nil, err
	}
	return done()
}

func (h *handler) rotateRoot(ctx context.Context, _ *request) (*answer, error) {
	if err := h.Node.RotateRoot(ctx); err != nil {
		return nil, err
	}
	return done()
}

// rewrapSeals has every seal wrap the root key again, by the newest version of its key.
func (h *handler) rewrapSeals(ctx context.Context, _ *request) (*answer, error) {
	if err := h.Node.RewrapSeals(ctx); err != nil {
		return nil, err
	}
	return done()
}

type rotationAnswer struct {
	Enabled       bool  `json:"enabled"`
	Interval      any   `json:"interval"` // the number 0 where there is none, else a text such as "24h0m0s": so Vault has it
	MaxOperations int64 `json:"max_operations"`
}

func (h *handler) rotationConfig(ctx context.Context, _ *request) (*answer, error) {
	c, err := h.Node.RotationConfig(ctx)
	if err != nil {
		return nil, err
	}
	a := rotationAnswer{Enabled: c.Enabled, Interval: 0, MaxOperations: c.MaxOperations}
	if c.Interval != 0 {
		a.Interval = c.Interval.String()
	}
	return shown(a)
}

// setRotationConfig changes the fields that are given.
func (h *handler) setRotationConfig(ctx context.Context, q *request) (*answer, error) {
	data, err := q.object()
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
	return done()
}

type keyStatusAnswer struct {
	Encryptions uint64 `json:"encryptions"`
	InstallTime string `json:"install_time"`
	Term        uint32 `json:"term"`
}

func (h *handler) keyStatus(context.Context, *request) (*answer, error) {
	s, err := h.Node.KeyStatus()
	if err != nil {
		return nil, err
	}
	return shown(keyStatusAnswer{Encryptions: s.Encryptions, InstallTime: s.Installed.UTC().Format(time.RFC3339Nano), Term: s.Term})
}
