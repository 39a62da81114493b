package seals

import (
	"context"
	"slices"
	"time"
)

// Upstream is implemented by providers whose service is a server that unseals itself by seals of
// its own, so that a chain of servers, or a loop, can be recognised.
type Upstream interface {
	// Clusters returns the id of the server's cluster, followed by those that it unseals through. Who
	// answers is not proven: the ids serve for a warning, and for nothing else.
	Clusters(ctx context.Context) ([]string, error)
}

const (
	maxUpstream   = 16 // of a chain
	maxUpstreamID = 64
)

// askUpstream asks a provider what it unseals through. What was known stays known if it does not
// answer.
func (s *Set) askUpstream(ctx context.Context, i int) {
	m := s.seals[i]
	u, ok := m.Wrapper.(Upstream)
	if !ok {
		return
	}
	begun := time.Now()
	ids, err := invoke(ctx, s, i, u.Clusters, nil)
	s.opts.Observe("upstream", m.Type, time.Since(begun), err)
	if err == nil {
		s.change(m, func(st *Status) { st.Upstream = Chain(ids) })
	}
}

// Chain bounds a list of cluster ids that another server sent, and removes repetitions.
func Chain(ids []string) []string {
	var out []string
	for _, id := range ids {
		if id != "" && len(id) <= maxUpstreamID && !slices.Contains(out, id) && len(out) < maxUpstream {
			out = append(out, id)
		}
	}
	return out
}

// Upstreams returns the clusters without which this set cannot unseal: those of its seals, unless
// enough other seals of the record remain.
func (s *Set) Upstreams(r *Record) []string {
	if r == nil {
		return nil
	}
	var ids, others []string
	for _, st := range s.StatusOf(r) {
		switch {
		case r.part(st.Name) == nil || !st.Configured:
		case len(st.Upstream) == 0:
			others = append(others, st.Name)
		default:
			ids = append(ids, st.Upstream...)
		}
	}
	if r.Plan().OpensWith(others) {
		return nil
	}
	return Chain(ids)
}

// Loops reports whether a cluster unseals through itself.
func Loops(r *Record, upstreams []string) bool {
	return r != nil && r.Cluster != "" && slices.Contains(upstreams, r.Cluster)
}
