package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// subject describes a change to the custodians who authorise it: what is added or removed, and the
// policy that follows. A grant for one change allows no other.
func (c planChange) subject() string {
	verb := strings.TrimPrefix(c.purpose, "seal-")
	if c.seal == "" {
		return verb + " " + c.plan.Expression()
	}
	return fmt.Sprintf("%s %s; policy: %s", verb, c.seal, c.plan.Expression())
}

// request is the change as [SealAdmin.Subject] reads it.
func (c planChange) request() string {
	switch {
	case c.purpose == "seal-add", c.purpose == "seal-replace":
		return fmt.Sprintf("%s %s: %s", strings.TrimPrefix(c.purpose, "seal-"), c.seal, c.plan.Expression())
	case c.seal == "":
		return strings.TrimPrefix(c.purpose, "seal-") + " " + c.plan.Expression()
	}
	return strings.TrimPrefix(c.purpose, "seal-") + " " + c.seal
}

// wanted is the change as a grant must name it.
func (c planChange) wanted() ceremony.Subject {
	return ceremony.Subject{Change: c.subject(), Ask: c.request()}
}

// Subject reads the change that a quorum is asked for:
//
//	add NAME | add NAME: POLICY    a seal or the custodians
//	replace LOST,... with NAME     a seal in place of others
//	remove NAME
//	policy THRESHOLD | policy POLICY
//	retire NAME | retire NAME: KEY  an old key that is to be destroyed
//
// Any other verb is for a seal that stays a member.
func (s SealAdmin) Subject(ctx context.Context, text string) (what ceremony.Subject, err error) {
	a, err := s.mayChange()
	if err != nil {
		return what, err
	}
	plan := planOf(s.n.state.Load().record)
	verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	name, policy, _ := strings.Cut(strings.TrimSpace(rest), ":")
	name, policy = strings.TrimSpace(name), strings.TrimSpace(policy)
	if verb == "" || name == "" {
		return what, fault.New(fault.Invalid, "the change that is to be authorised is missing or incomplete: write \"remove "+
			"NAME\", \"add NAME\", \"replace LOST with NAME\", \"add NAME: POLICY\" or \"policy POLICY\"")
	}
	c := planChange{purpose: "seal-" + verb, seal: name, plan: plan}
	switch verb {
	case "add":
		c.plan, err = s.withMember(plan, name, policy)
		what.Enroll = s.hasQuorum(seals.Plan{Members: []string{name}}) && !slices.Contains(plan.Members, name)
	case "policy":
		c.seal, c.plan, err = "", plan, nil
		if threshold, bad := strconv.Atoi(name); bad == nil {
			rest = seals.Plan{Members: plan.Members, Threshold: threshold}.Expression()
		}
		c.plan, err = parsePolicy(rest, plan.Members)
	case "replace":
		lost, added, ok := strings.Cut(name, " with ")
		if lost, added = strings.TrimSpace(lost), strings.TrimSpace(added); !ok || added == "" {
			return what, fault.New(fault.Invalid, "the change that is to be authorised is incomplete: write \"replace LOST "+
				"with NAME\"")
		}
		c.seal = lost + " with " + added
		var left seals.Plan
		if left, err = without(plan, added, strings.Split(lost, ",")); err == nil {
			c.plan, err = s.withMember(left, added, policy)
		}
	case "retire":
		c.seal, err = s.retiredSubject(ctx, a, name, policy)
	case "remove":
		c.plan = plan.Without(name)
		fallthrough
	default:
		if !slices.Contains(plan.Members, name) {
			err = fault.New(fault.Invalid, "seal %q holds no part of the root key; the members are %s", name,
				orList(plan.Members))
		}
	}
	what.Change = c.subject()
	return what, err
}

// addCustodians makes the holders of the recovery shares a member: their shares decrypt from then
// on. That lessens protection, so a quorum of them authorises it; its shares are what the key is
// derived from that the root key is wrapped to.
func (s SealAdmin) addCustodians(ctx context.Context, a *RoleState, name string, next seals.Plan,
	by ceremony.Starter) (*SealChange, error) {
	n := s.n
	s.awaitProofs(ctx, planOf(n.state.Load().record), next)
	n.transition.Lock()
	defer n.transition.Unlock()
	before, err := s.unchanged(a)
	if err != nil {
		return nil, err
	}
	if slices.Contains(before.Members, name) {
		return changed(n.state.Load().record), nil
	}
	if _, err := parsePolicy(next.Expression(), append(slices.Clone(before.Members), name)); err != nil {
		return nil, fault.New(fault.Unavailable, "the seals were changed meanwhile; nothing was changed; try again")
	}
	if n.state.Load().shareSet == nil {
		return nil, fault.New(fault.Invalid, "nothing was changed: nobody holds shares of this server that could decrypt; "+
			"make recovery shares first: sealgate operator rotate-keys -target=recovery -init")
	}
	if waiting := s.withoutStanza(name); len(waiting) > 0 {
		return waitingFor(n.state.Load().record, waiting), nil
	}
	if err := s.accepted(before, next); err != nil {
		return nil, err
	}
	return s.commit(ctx, a, planChange{
		plan: next, lessens: true, enroll: true, purpose: "seal-add", seal: name, by: by,
		renew:  before.Raises(next) || n.state.Load().breakGlass, // an enrolment for break-glass ends with this
		reason: fmt.Sprintf("the holders of the shares added as custodians %q", name),
	})
}

// withoutStanza lists the nodes that have no stanza for the custodians.
func (s SealAdmin) withoutStanza(name string) (out []string) {
	for _, r := range s.reports() {
		if !slices.ContainsFunc(r.Seals, func(seal sealReport) bool {
			return seal.Name == name && seal.Configured && seal.Quorum
		}) {
			out = append(out, fmt.Sprintf("%s: has no stanza seal \"shamir\" %q: add it and reload the node (SIGHUP)",
				r.node, name))
		}
	}
	return out
}
