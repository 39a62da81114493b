package node

import (
	"context"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// glassReport is the record of a break-glass unseal that a standby asks the leader to commit, over
// mutual TLS. The leader has the names of the holders from its own share set, unless the shares
// were replaced since: then it records their numbers alone.
type glassReport struct {
	Nonce      string       `json:"nonce"`
	Started    time.Time    `json:"started"`
	Finished   time.Time    `json:"finished"`
	Given      []glassShare `json:"given"`
	Reason     string       `json:"reason"`
	Generation uint64       `json:"generation,omitempty"` // of the share set; 0, from an older program: the current one
	Required   int          `json:"required,omitempty"`
}

const maxShares = 255

type glassShare struct {
	Number int       `json:"number"`
	At     time.Time `json:"at"`
}

// reported returns what this node asks the leader to record; nil: nothing.
func (g *glassBreaker) reported() *glassReport {
	r := g.pending.Load()
	if r == nil {
		return nil
	}
	out := &glassReport{Nonce: r.Nonce, Started: r.Started, Finished: r.Finished, Reason: r.Reason,
		Generation: r.GenerationBefore, Required: r.Required}
	for _, s := range r.Given {
		out.Given = append(out.Given, glassShare{s.Number, s.At})
	}
	return out
}

// record makes the record of what another node reports.
func (r *glassReport) record(state ceremony.ShareState) (transcript.Record, error) {
	out := transcript.Record{
		Cluster: state.Cluster, Purpose: "break-glass", Nonce: r.Nonce, Started: r.Started, Finished: r.Finished,
		Outcome: transcript.Completed, Reason: cut(r.Reason),
	}
	if r.Generation > 0 && (state.ShareSet == nil || r.Generation != state.ShareSet.Generation) {
		return r.replaced(out)
	}
	if state.ShareSet == nil {
		return out, fmt.Errorf("node: a node reports an unseal by break-glass, and there are no shares")
	}
	out.Required = state.ShareSet.Threshold
	out.GenerationBefore, out.GenerationAfter = state.ShareSet.Generation, state.ShareSet.Generation
	for _, s := range r.Given {
		if s.Number < 1 || s.Number > len(state.ShareSet.Holders) {
			return out, fmt.Errorf("node: a node reports share number %d of %d", s.Number, len(state.ShareSet.Holders))
		}
		out.Given = append(out.Given, transcript.Share{
			Number: s.Number, At: s.At, Name: state.ShareSet.Holders[s.Number-1].Name,
		})
	}
	return out, nil
}

// replaced makes the record of shares that were replaced since.
func (r *glassReport) replaced(out transcript.Record) (transcript.Record, error) {
	if r.Required < 1 || r.Required > maxShares || len(r.Given) > maxShares {
		return out, fmt.Errorf("node: a node reports %d shares of %d required ones", len(r.Given), r.Required)
	}
	out.Required, out.GenerationBefore, out.GenerationAfter = r.Required, r.Generation, r.Generation
	out.Reason = cut(fmt.Sprintf("by shares of generation %d, which were replaced since: %s", r.Generation, r.Reason))
	for _, s := range r.Given {
		if s.Number < 1 || s.Number > maxShares {
			return out, fmt.Errorf("node: a node reports share number %d", s.Number)
		}
		out.Given = append(out.Given, transcript.Share{Number: s.Number, At: s.At})
	}
	return out, nil
}

// recordReported commits, on the leader, the records of standbys that break-glass unsealed. They
// serve nothing before they find them in the transcript.
func (g BreakGlass) recordReported(ctx context.Context) {
	n := g.n
	a := n.writer()
	if a == nil || !n.Clustered() {
		return
	}
	for _, r := range SealAdminOf(n).reports() {
		if r.BreakGlass == nil {
			continue
		}
		if err := g.recordOther(ctx, a, r.BreakGlass); err != nil && ctx.Err() == nil {
			n.log.Warn("a node was unsealed by break-glass, and that could not be recorded; it is tried again",
				"node", r.node, "error", err)
		}
	}
}

func (g BreakGlass) recordOther(ctx context.Context, a *RoleState, r *glassReport) error {
	n := g.n
	n.transition.Lock()
	defer n.transition.Unlock()
	if n.role.Load() != a {
		return nil
	}
	record, err := r.record(ceremonyHost{n}.ShareState())
	if err != nil {
		return err
	}
	return g.append(ctx, a, record)
}

// append commits a record of the transcript, unless it is there.
func (g BreakGlass) append(ctx context.Context, a *RoleState, r transcript.Record) error {
	n := g.n
	has, head, err := g.recorded(ctx, a, r)
	if err != nil || has {
		return err
	}
	tx := a.barrier.Begin()
	if err := ceremony.AppendRecord(ctx, a.barrier, tx, head, r); err != nil {
		return err
	}
	if err := integrity(g).attest(ctx, a, tx); err != nil {
		return err
	}
	failpoint.Point("break-glass.record.commit")
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	n.log.Info("an unseal by break-glass was recorded in the transcript", "required", r.Required)
	return nil
}

// recorded reports whether the transcript has a record, by its nonce, and returns the head.
func (g BreakGlass) recorded(ctx context.Context, a *RoleState, r transcript.Record) (bool, transcript.Head, error) {
	var head transcript.Head
	raw, err := integrity(g).transcriptHead(ctx, a)
	if err != nil || raw == nil {
		return false, head, err
	}
	if head, err = transcript.UnmarshalHead(raw); err != nil {
		return false, head, err
	}
	has, err := ceremony.Recorded(ctx, a.barrier, head, r.Nonce, r.Started)
	return has, head, err
}

// held reports whether a standby's role must serve nothing yet: the leader has not recorded that
// break-glass unsealed this node.
func (g BreakGlass) held(ctx context.Context, b *barrier.Barrier) (bool, error) {
	record := g.n.glass.pending.Load()
	if record == nil {
		return false, nil
	}
	has, _, err := g.recorded(ctx, &RoleState{barrier: b}, *record)
	if has {
		g.n.glass.pending.Store(nil)
	}
	return !has, err
}

// publish makes a role the one that serves, unless it is held; it returns the role before.
func (g *glassBreaker) publish(n *Node, a *RoleState) (previous *RoleState) {
	var held *RoleState
	if a != nil && a.unrecorded {
		held, a = a, nil
	}
	previous = n.role.Swap(a)
	if waited := g.waiting.Swap(held); waited != nil {
		previous = waited // a node has one role
	}
	return previous
}

// sealLeftBehind seals a node that break-glass opened and whose root key was replaced since. Its
// seals do not open the new one, so it serves nothing; sealed, it takes the current shares.
func (g BreakGlass) sealLeftBehind(ctx context.Context) {
	n := g.n
	if !n.glass.left.Swap(false) {
		return
	}
	n.lockWithoutRole()
	defer n.transition.Unlock()
	if n.sealed() {
		return
	}
	if err := n.deactivate(ctx); err != nil {
		n.log.Warn("sealed, but not in order", "error", err)
	}
	n.log.Warn("sealed, because the root key was replaced after break-glass had unsealed this node, and its seals do " +
		"not unwrap the new one: give the current recovery shares (sealgate operator break-glass), or restore the seals")
}
