package node

import (
	"fmt"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// statusWarnings returns what an operator should know about a node in the state f: what fails, what
// was tampered with, and what the next start would meet.
func statusWarnings(n *Node, f *nodeState, st *SealStatus) (out []string) {
	if st.StorageFailure != nil {
		out = append(out, fmt.Sprintf("the storage fails since %s: %s: %v",
			st.StorageFailure.Since.UTC().Format(time.RFC3339), st.StorageFailure.Class, st.StorageFailure.Err))
	}
	if st.Migration {
		out = append(out, "a seal migration is pending: a quorum of shares does it (sealgate operator unseal -migrate)")
	}
	if st.Sealed {
		if f.trouble != nil {
			out = append(out, "not unsealed: "+explain(f.trouble))
		}
	} else if err := n.replica.Degraded(); err != nil {
		out = append(out, "this node cannot take its role in the cluster: "+explain(err))
	}
	if text := BreakGlassOf(n).hint(f); text != "" {
		out = append(out, text)
	}
	if n.unsealedByShares() {
		out = append(out, brokenText)
	}
	if err := n.tampered.Load(); err != nil {
		out = append(out, "ALARM: "+(*err).Error())
	}
	out = append(out, n.recordWarnings(f.record)...)
	if seals.Loops(f.record, st.Upstreams) {
		out = append(out, loopText)
	}
	out = append(out, n.snapshots.warnings()...)
	if err := n.commits.lost.Load(); err != nil {
		out = append(out, "ALARM: "+(*err).Error())
	}
	for _, s := range st.Seals {
		if s.Deletion != nil {
			out = append(out, deletionText(s))
		}
	}
	return out
}

// recordWarnings says how the sealed record differs from what the configuration asks for.
func (n *Node) recordWarnings(r *seals.Record) (out []string) {
	if text, _ := n.seals.Load().PolicyDrift(r); text != "" {
		out = append(out, text+": correct the seal_policy stanza, or set allow_change = true in it and restart, "+
			"which wraps the root key by the configured policy")
	}
	if text := r.Weakness(); text != "" {
		out = append(out, text)
	}
	return append(out, absent(n.seals.Load(), r)...)
}

// absent reports the configured seals that wrapped no part of the root key in a record.
func absent(set *seals.Set, r *seals.Record) (out []string) {
	if r == nil {
		return nil
	}
	for _, st := range set.StatusOf(r) {
		if st.Configured && len(st.Needed) == 0 {
			out = append(out, fmt.Sprintf("the root key is not wrapped by the configured seal %q (%s), as after the restore of "+
				"an older snapshot: it would not unseal this server; run `sealgate operator seals add %s`",
				st.Name, st.Type, st.Name))
		}
	}
	return out
}

// explain returns class, cause and remedy of an error in one text.
func explain(err error) string {
	class, cause, remedy := diagnosis(err)
	return string(class) + ": " + cause + "; " + remedy
}
