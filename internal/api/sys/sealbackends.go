package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/seals"
)

// sealBackendsAnswer has the members of Vault's seal HA (healthy, unhealthy_since, fully_wrapped,
// backends), and ours.
type sealBackendsAnswer struct {
	Healthy        bool          `json:"healthy"` // every seal would unseal
	UnhealthySince string        `json:"unhealthy_since,omitempty"`
	FullyWrapped   bool          `json:"fully_wrapped"`
	Backends       []sealBackend `json:"backends"`
	WouldUnseal    bool          `json:"would_unseal"` // as many seals would as the policy needs
	Warnings       []string      `json:"warnings,omitempty"`
}

// sealBackend shows one seal: Vault's members, then ours. "name" and "configured" are both.
type sealBackend struct {
	Healthy        bool   `json:"healthy"`
	Disabled       bool   `json:"disabled"`
	UnhealthySince string `json:"unhealthy_since,omitempty"`
	seals.Status
}

func sealBackends(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	st, err := h.Node.SealStatus(ctx)
	if err != nil {
		return nil, err
	}
	if !showsDetail(ctx, h, q) {
		st.Seals, st.Warnings = public(st.Seals), publicWarnings(st.Warnings)
	}
	a := sealBackendsAnswer{
		Healthy: true, FullyWrapped: st.FullyWrapped, WouldUnseal: h.Node.Health().WouldUnseal, Warnings: st.Warnings,
		Backends: []sealBackend{},
	}
	var since time.Time
	for _, s := range st.Seals {
		b := sealBackend{Healthy: s.WouldUnseal, Status: s}
		if s.Failing != nil {
			b.UnhealthySince = s.Failing.UTC().Format(time.RFC3339)
			if since.IsZero() || s.Failing.Before(since) {
				since = *s.Failing
			}
		}
		a.Healthy = a.Healthy && (s.WouldUnseal || !s.Configured)
		a.Backends = append(a.Backends, b)
	}
	if !a.Healthy && !since.IsZero() {
		a.UnhealthySince = since.UTC().Format(time.RFC3339)
	}
	return api.Show(a)
}
