package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// Policy changes how many of the seals are needed, where the policy has no groups or loses them.
func (s SealAdmin) Policy(ctx context.Context, threshold int, by ceremony.Starter) (*SealChange, error) {
	if _, err := s.mayChange(); err != nil {
		return nil, err
	}
	members := planOf(s.n.state.Load().record).Members
	if threshold < 1 || threshold > len(members) {
		return nil, fault.New(fault.Invalid, "nothing was changed: the threshold is 1 to %d, the number of seals that "+
			"hold the root key", len(members))
	}
	return s.SetPolicy(ctx, seals.Plan{Members: members, Threshold: threshold}.Expression(), by)
}

// SetPolicy changes which of the seals unseal together. The configuration of every node must not
// ask for more, or it would refuse the record at its next start.
func (s SealAdmin) SetPolicy(ctx context.Context, policy string, by ceremony.Starter) (*SealChange, error) {
	n := s.n
	if err := s.prepare(ctx, policy); err != nil {
		return nil, err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	record := n.state.Load().record
	before := planOf(record)
	next, err := parsePolicy(policy, before.Members)
	if err != nil {
		return nil, err
	}
	if next.Expression() == before.Expression() {
		return changed(record), nil
	}
	if err := s.accepted(before, next); err != nil {
		return nil, err
	}
	reason := fmt.Sprintf("threshold changed from %d to %d", before.Threshold, next.Threshold)
	if before.Grouped() || next.Grouped() {
		reason = "policy changed from " + before.Expression()
	}
	return s.commit(ctx, a, planChange{
		plan: next, renew: before.Raises(next), lessens: s.lessens(before, next), purpose: "seal-policy", by: by,
		reason: reason,
	})
}

// lessens reports whether a change needs a quorum of shares: seals unseal that did not, or the
// shares become necessary, which nothing but a quorum proves to exist.
func (s SealAdmin) lessens(before, next seals.Plan) bool {
	return before.Lessens(next) || s.needsShares(next) && !s.needsShares(before)
}

func (s SealAdmin) needsShares(p seals.Plan) bool {
	return !p.Opens(func(name string) bool { return !s.hasQuorum(seals.Plan{Members: []string{name}}) })
}

// readable refuses a policy that the program of a node cannot read.
func (s SealAdmin) readable(p seals.Plan) error {
	for _, r := range s.reports() {
		if p.Grouped() && (!r.known || r.Record < groupsRecord) {
			return fault.New(fault.Unavailable, "nothing was changed: node %s does not report that its program can read a "+
				"policy with groups; install this version there first", r.node)
		}
	}
	return nil
}

// prepare proves the seals for a policy that needs more of them, and waits for the proofs of the
// other nodes, at most Timing.Trial. It takes no lock.
func (s SealAdmin) prepare(ctx context.Context, policy string) error {
	if _, err := s.mayChange(); err != nil {
		return err
	}
	before := planOf(s.n.state.Load().record)
	next, err := parsePolicy(policy, before.Members)
	if err != nil {
		return err
	}
	s.awaitProofs(ctx, before, next)
	return nil
}

// awaitProofs returns early where nothing is missing; what is, the caller's own check reports.
func (s SealAdmin) awaitProofs(ctx context.Context, before, next seals.Plan) {
	if !before.Raises(next) {
		return
	}
	s.n.seals.Load().Probe(ctx, s.n.state.Load().record)
	ctx, cancel := context.WithTimeout(ctx, s.n.cfg.Timing.Trial)
	defer cancel()
	tick := time.NewTicker(trialPoll)
	defer tick.Stop()
	for s.accepted(before, next) != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// parsePolicy reads the policy of a request, which names each of the members.
func parsePolicy(text string, members []string) (seals.Plan, error) {
	p, err := seals.ParsePlan(text)
	if err != nil {
		f := seals.Classify(err)
		return p, fault.New(fault.Invalid, "nothing was changed: %v; %s", f.Err, f.Remedy)
	}
	named := slices.Sorted(slices.Values(p.Members))
	if want := slices.Sorted(slices.Values(members)); !slices.Equal(named, want) {
		return p, fault.New(fault.Invalid, "nothing was changed: the policy names %s, and the seals that hold the root key "+
			"are %s: name each of them once", strings.Join(named, ", "), strings.Join(want, ", "))
	}
	return p, nil
}

// withMember returns a plan with one more member.
func (s SealAdmin) withMember(plan seals.Plan, name, policy string) (seals.Plan, error) {
	switch {
	case slices.Contains(plan.Members, name):
		return plan, nil
	case policy != "":
		return parsePolicy(policy, append(slices.Clone(plan.Members), name))
	case plan.Grouped():
		return plan, fault.New(fault.Invalid, "nothing was changed: the policy %s has groups: give the new policy too, so "+
			"that it is clear where seal %q belongs (-policy)", plan, name)
	}
	return plan.With(name), nil
}

// accepted refuses a policy that a node would not unseal with: by its configuration, by its
// program, or, where more is needed than before, because it has not proven the seals.
func (s SealAdmin) accepted(before, next seals.Plan) error {
	raises := before.Raises(next)
	for _, r := range s.reports() {
		if !r.known && (raises || next.Grouped() || before.Lessens(next)) {
			return fault.New(fault.Unavailable, "nothing was changed: node %s reports nothing about its seals; "+
				"wait for its report, or stop it", r.node)
		}
		if !r.known {
			continue
		}
		if why := r.refuses(next); why != "" && r.refuses(before) == "" {
			return fault.New(fault.Invalid, "nothing was changed: node %s %s; change seal_policy there and reload it (SIGHUP) "+
				"first", r.node, why)
		}
		if !raises {
			continue
		}
		if unproven := r.unproven(before.Members); len(unproven) > 0 {
			return fault.New(fault.Unavailable, "nothing was changed: node %s has not proven seal %s, and the new policy needs "+
				"more of the seals than the old one: it could not unseal any more; see `sealgate operator seals list`",
				r.node, strings.Join(unproven, ", "))
		}
	}
	return nil
}

// unproven lists the seals that a node cannot use, as far as it can know that without shares.
func (r reported) unproven(members []string) (out []string) {
	for _, name := range members {
		at := slices.IndexFunc(r.Seals, func(s sealReport) bool { return s.Name == name })
		if at < 0 || !r.Seals[at].Configured || !r.Seals[at].Quorum && !r.Seals[at].WouldUnseal {
			out = append(out, name)
		}
	}
	return out
}
