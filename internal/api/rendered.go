package api

import (
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/node"
)

// Rendered is the newest rendering of an answer that follows from a version K of the state alone.
// It is made anew when the version is another one, never by age. It is safe for concurrent use.
type Rendered[K comparable, V any] struct {
	newest atomic.Pointer[rendering[K, V]]
}

type rendering[K comparable, V any] struct {
	of    K
	value V
}

// Get returns the rendering of the current version, and renders it where there is none. A rendering
// is kept where the version was the same before and after it was made, and may be kept.
func (r *Rendered[K, V]) Get(version func() (K, bool), render func() (V, error)) (V, error) {
	now, keep := version()
	if last := r.newest.Load(); keep && last != nil && last.of == now {
		return last.value, nil
	}
	v, err := render()
	if err != nil || !keep {
		return v, err
	}
	if after, keep := version(); keep && after == now {
		r.newest.Store(&rendering[K, V]{now, v})
	}
	return v, nil
}

// HealthVersion is the version of an answer of sys/health.
type HealthVersion struct {
	Node   node.StatusVersion
	Second int64 // Unix time, which the answer shows
}

// RenderedHealth is an answer of sys/health: the state, and the body that shows it.
type RenderedHealth struct {
	Health node.Health
	Body   any // a json.RawMessage
}

// Statuses are the renderings of what load balancers ask for.
type Statuses struct {
	Seal       Rendered[node.StatusVersion, any] // a json.RawMessage, for every client
	SealDetail Rendered[node.StatusVersion, any] // for clients that may see details
	Health     Rendered[HealthVersion, RenderedHealth]
}
