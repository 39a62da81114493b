package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// itself is who makes changes that no client asked for.
var itself = ceremony.Starter{DisplayName: "the server itself"}

// lossReason returns why a seal that holds the root key is about to be lost, "" where it is not.
func lossReason(st seals.Status, now time.Time) string {
	switch {
	case len(st.Needed) == 0:
	case st.Deletion != nil:
		return "its key will be destroyed at " + st.Deletion.UTC().Format(time.RFC3339)
	case st.Class == seals.PendingDeletion, st.Class == seals.KeyGone, st.Class == seals.KeyDisabled:
		return string(st.Class)
	default:
		for _, l := range st.Limits {
			if l.Doomed(now) {
				return fmt.Sprintf("its %s expires at %s", l.What, l.At.UTC().Format(time.RFC3339))
			}
		}
	}
	return ""
}

// leaveDoomed takes the root key from a seal whose key is about to be lost, where
// auto_rewrap_to_survivors is set and the other seals satisfy the policy on every node.
func (k *sealKeeper) leaveDoomed(ctx context.Context, set *seals.Set) {
	n := k.n
	if !set.AutoRewraps() || n.writer() == nil || n.migration.pending() {
		return
	}
	for _, st := range set.StatusOf(n.state.Load().record) {
		why := lossReason(st, n.cfg.Now())
		if why == "" || time.Now().Before(k.postpone[st.Name]) {
			continue
		}
		err := k.leaveOne(ctx, st.Name, why)
		if err == nil || ctx.Err() != nil {
			return // the next one is judged by the new record
		}
		if k.postpone == nil {
			k.postpone = map[string]time.Time{}
		}
		k.postpone[st.Name] = time.Now().Add(clock.Jitter(rewrapAgain))
		_, cause, remedy := diagnosis(err)
		n.log.Warn("a seal is about to be lost, and the root key could not be moved to the others; it is tried again",
			"seal", st.Name, "why", why, "cause", cause, "remedy", remedy)
	}
}

func (k *sealKeeper) leaveOne(ctx context.Context, name, why string) error {
	n := k.n
	n.transition.Lock()
	defer n.transition.Unlock()
	s := SealAdmin{n}
	a, err := s.mayChange()
	if err != nil {
		return err
	}
	plan := planOf(n.state.Load().record).Without(name)
	if err := s.survives(plan); err != nil {
		return err
	}
	return k.audited("sys/seals/remove", map[string]string{"seal": name, "reason": why}, func() error {
		_, err := s.commit(ctx, a, planChange{
			plan: plan, renew: true, purpose: "seal-remove", by: itself,
			reason: fmt.Sprintf("seal %q removed automatically: %s", name, why),
		})
		if err == nil {
			n.log.Warn("ALARM: a seal is about to be lost; it no longer holds the root key", "seal", name, "why", why,
				"policy", plan.String())
		}
		return err
	})
}

// survives refuses a plan whose seals do not satisfy the policy on every node now.
func (s SealAdmin) survives(plan seals.Plan) error {
	if plan.Check() != nil {
		return fault.New(fault.Invalid, "no other seals would satisfy the policy; add one: sealgate operator seals add")
	}
	for _, r := range s.reports() {
		var able []string
		for _, seal := range r.Seals {
			ends := slices.ContainsFunc(seal.Limits, func(l seals.Limit) bool { return l.Doomed(s.n.cfg.Now()) })
			if seal.WouldUnseal && !seal.Quorum && !ends && slices.Contains(plan.Members, seal.Name) {
				able = append(able, seal.Name)
			}
		}
		if !plan.OpensWith(able) {
			return fault.New(fault.Unavailable, "node %s has proven %d seals, which do not satisfy %s", r.node, len(able), plan)
		}
	}
	return nil
}

// audited audits a change that no client asked for, before and after. Where the audit trail fails,
// nothing is done.
func (k *sealKeeper) audited(path string, data map[string]string, change func() error) error {
	n := k.n
	if n.cfg.Trail == nil {
		return change()
	}
	var plain []string
	for name := range data {
		plain = append(plain, name)
	}
	slices.Sort(plain)
	rec := n.cfg.Trail.Begin(&audit.Request{
		Operation: "update", Path: path, Plain: plain, Data: auditData(data),
	}, &audit.Auth{DisplayName: itself.DisplayName, NoDefault: true})
	if err := rec.Request(""); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the change cannot be audited, so nothing was done")
	}
	err := change()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if failed := rec.Response(nil, text); failed != nil && err == nil {
		n.log.Error("a change was done and could not be audited", "path", path, "error", failed)
	}
	return err
}
