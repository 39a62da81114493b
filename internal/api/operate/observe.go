package operate

import (
	"context"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// lookup bounds how long a sample of metrics waits for storage.
const lookup = 2 * time.Second

// shownTerms bounds the series that rotations create.
const shownTerms = 16

// Observe adds the node's state to the metrics.
func Observe(s *api.Shared, n *node.Node) {
	for name, help := range map[string]string{
		"core.unsealed":              "Whether the node is unsealed.",
		"core.active":                "Whether the node is the one that writes.",
		"sealgate.seal.would_unseal": "Whether this seal gave the stored root key back when last asked.",
		"sealgate.seal.last_proof":   "When this seal last did, in seconds since 1970.",
		"sealgate.seal.rewrap_due": "Whether this seal's key has a newer version than the one that " +
			"what is stored needs.",
		"sealgate.seal.key_deletion_timestamp_seconds": "When this seal's key will be destroyed, in seconds since 1970; " +
			"not there where it will not.",
		"sealgate.seal.expiry_timestamp_seconds": "When a credential of this seal expires, in seconds since 1970.",
		"sealgate.seal.ending": "Whether a credential of this seal expires soon and is not renewed, or tries of its PIN " +
			"are used up.",
		"sealgate.device_key.usable": "Whether this key in a device could be used when last looked at.",
		"sealgate.device_key.deletion_timestamp_seconds": "When this key in a device will be destroyed, in seconds since " +
			"1970; not there where it will not.",
		"sealgate.device_key.failures": "Uses of a key in a device that failed, by the class of the failure.",
		"sealgate.forecast.would_unseal": "Whether at least one node that this one knows would unseal without shares if " +
			"all restarted now.",
		"sealgate.forecast.nodes":           "The nodes that this one knows: on the active node, all of the cluster.",
		"sealgate.forecast.nodes_unsealing": "Those of them that would unseal without shares if all restarted now.",
		"sealgate.forecast.critical_losses": "Single seals without which none of them would unseal.",
		"sealgate.seal.policy_drift":        "Whether the stored seal policy differs from the configured one.",
		"sealgate.barrier.term":             "The term of the barrier key in use.",
		"sealgate.barrier.term_encryptions": "Encryptions under the barrier key in use.",
		"sealgate.barrier.term_entries": "Entries that were written by each of the newest terms of the barrier key, " +
			"those that were overwritten since among them.",
		"sealgate.ceremony.active":   "Whether a ceremony of this kind is under way.",
		"sealgate.ceremony.progress": "Shares that were given to it.",
		"sealgate.ceremony.required": "Shares that it needs.",
		"sealgate.share.last_proof": "When the holder of this share last proved it, in seconds since 1970; without a " +
			"proof, when it was made.",
	} {
		s.Metrics.Help(name, help)
	}
	s.Metrics.Sampled(func(m *metrics.Sample) {
		ctx, cancel := context.WithTimeout(context.Background(), lookup)
		defer cancel()
		health := n.Health()
		m.Gauge("core.unsealed", metrics.Truth(!health.Sealed), "cluster", health.ClusterName)
		m.Gauge("core.active", metrics.Truth(!health.Sealed && !health.Standby), "cluster", health.ClusterName)
		m.Gauge("sealgate.would_unseal", metrics.Truth(health.WouldUnseal))
		observeSeals(ctx, m, n)
		observeForecast(ctx, m, n)
		if active, err := n.Role(); err == nil {
			m.Gauge("core.mount_table.num_entries", float64(len(active.Mounts().List())), "type", "logical", "local", "false")
			observeBarrier(m, n)
			if d := active.Devices(); d != nil {
				d.Sample(m)
			}
			for _, t := range active.Store().Terms(shownTerms) {
				m.Gauge("sealgate.barrier.term_entries", float64(t.Encryptions), "term", strconv.FormatUint(uint64(t.Term), 10))
			}
			observeCeremonies(ctx, m, n)
		}
	})
}

func observeSeals(ctx context.Context, m *metrics.Sample, n *node.Node) {
	st, err := n.SealStatus(ctx)
	if err != nil {
		return
	}
	m.Gauge("sealgate.seal.policy_drift", metrics.Truth(st.PolicyDrift))
	for _, s := range st.Seals {
		m.Gauge("sealgate.seal.would_unseal", metrics.Truth(s.WouldUnseal), "seal", s.Name, "type", s.Type)
		m.Gauge("sealgate.seal.rewrap_due", metrics.Truth(s.RewrapDue), "seal", s.Name, "type", s.Type)
		if s.Deletion != nil {
			m.Gauge("sealgate.seal.key_deletion_timestamp_seconds", float64(s.Deletion.Unix()), "seal", s.Name, "type", s.Type)
		}
		observeLimits(m, s.Name, s.Type, s.Limits)
		if s.LastProof != nil {
			m.Gauge("sealgate.seal.last_proof", float64(s.LastProof.UnixMilli())/1000, "seal", s.Name, "type", s.Type)
		}
	}
}

// observeLimits shows what may end the use of a seal.
func observeLimits(m *metrics.Sample, seal, kind string, limits []seals.Limit) {
	for _, l := range limits {
		if l.At != nil {
			m.Gauge("sealgate.seal.expiry_timestamp_seconds", float64(l.At.Unix()), "seal", seal, "type", kind, "what", l.What)
		}
		m.Gauge("sealgate.seal.ending", metrics.Truth(l.Soon(time.Now())), "seal", seal, "type", kind, "what", l.What)
	}
}

func observeForecast(ctx context.Context, m *metrics.Sample, n *node.Node) {
	f, err := node.SealAdminOf(n).Forecast(ctx)
	if err != nil {
		return // sealed
	}
	would := 0
	for _, other := range f.Nodes {
		if other.WouldUnseal {
			would++
		}
	}
	m.Gauge("sealgate.forecast.would_unseal", metrics.Truth(f.WouldUnseal))
	m.Gauge("sealgate.forecast.nodes", float64(len(f.Nodes)))
	m.Gauge("sealgate.forecast.nodes_unsealing", float64(would))
	m.Gauge("sealgate.forecast.critical_losses", float64(len(f.CriticalLosses)))
}

func observeBarrier(m *metrics.Sample, n *node.Node) {
	k, err := n.KeyStatus()
	if err != nil {
		return
	}
	m.Gauge("sealgate.barrier.term", float64(k.Term))
	m.Gauge("sealgate.barrier.term_encryptions", float64(k.Encryptions))
	m.Counter("barrier.estimated_encryptions", k.Encryptions)
}

func observeCeremonies(ctx context.Context, m *metrics.Sample, n *node.Node) {
	show := func(kind string, started bool, progress, required int) {
		m.Gauge("sealgate.ceremony.active", metrics.Truth(started), "ceremony", kind)
		m.Gauge("sealgate.ceremony.progress", float64(progress), "ceremony", kind)
		m.Gauge("sealgate.ceremony.required", float64(required), "ceremony", kind)
	}
	for target, kind := range map[recovery.Target]string{recovery.Barrier: "rekey-barrier",
		recovery.Recovery: "rekey-recovery"} {
		if st, err := n.Ceremonies().RekeyStatus(ctx, target); err == nil {
			show(kind, st.Started, st.Progress, st.Required)
		}
	}
	if st, err := n.Ceremonies().GenerateRootStatus(ctx); err == nil {
		show("generate-root", st.Started, st.Progress, st.Required)
	}
	if l, err := n.Ceremonies().Holders(ctx); err == nil {
		for _, h := range l.Holders {
			proven := h.LastProven
			if proven.IsZero() {
				proven = l.Created
			}
			m.Gauge("sealgate.share.last_proof", float64(proven.Unix()), "number", strconv.Itoa(h.Number), "holder", h.Name)
		}
	}
}
