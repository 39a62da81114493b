package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/seals"
)

// sealKeeper watches the seals while the node is unsealed: it proves that they would unseal,
// logs what changes, and re-wraps the root key by a newer version of a seal's key. Run alone
// uses it, but for check.
type sealKeeper struct {
	n        *Node
	alarms   map[string]alarm     // by the seal's name: the deletion that was logged last
	limits   map[string]time.Time // by the seal's name and what ends: when that was logged last
	postpone map[string]time.Time // by the seal's name: when a re-wrap that failed is tried again
	due      atomic.Bool          // the seals are probed at once, not when their turn comes
	looped   bool                 // the log says that the cluster unseals through itself
	warned   string               // what was logged last about the sealed record
}

type alarm struct{ deletion, at time.Time }

const (
	repeatAlarm = 24 * time.Hour // how often the log repeats that a key will be destroyed
	rewrapAgain = time.Minute    // how long a seal that could not re-wrap is left alone
)

// check makes Run probe the seals: the set or the record has changed.
func (k *sealKeeper) check() {
	k.due.Store(true)
	k.n.poke()
}

// probe checks the seals whose turn it is and returns the wait until the next turn.
func (k *sealKeeper) probe(ctx context.Context) time.Duration {
	n := k.n
	set := n.seals.Load()
	before := map[string]seals.Status{}
	for _, st := range set.Status() {
		before[st.Name] = st
	}
	wait := set.RunHealthChecks(ctx, n.state.Load().record, k.pace())
	if ctx.Err() != nil {
		return 0
	}
	k.checkRecord(ctx, set)
	k.checkLoop(set)
	for _, st := range set.StatusOf(n.state.Load().record) {
		if st.WouldUnseal != before[st.Name].WouldUnseal && n.Clustered() {
			n.replica.Notify() // announce it now
		}
		k.logProof(before[st.Name], st)
		k.logKey(before[st.Name], st)
		if st.RewrapDue {
			k.rewrap(ctx, st)
		}
	}
	k.leaveDoomed(ctx, set)
	return wait
}

// checkKeys asks the seals of a server that is not initialised for their keys, and logs failures:
// they would fail the initialisation.
func (k *sealKeeper) checkKeys(ctx context.Context) {
	n := k.n
	if n.state.Load().record != nil {
		return
	}
	set := n.seals.Load()
	before := map[string]seals.Status{}
	for _, st := range set.Status() {
		before[st.Name] = st
	}
	set.CheckKeys(ctx, k.pace())
	for _, st := range set.Status() {
		if st.Class != before[st.Name].Class && st.Class != "" {
			n.log.Warn("this seal cannot be used to initialise the server", "seal", st.Name, "type", st.Type,
				"class", string(st.Class), "cause", st.Cause, "remedy", st.Remedy)
		}
	}
}

func (k *sealKeeper) pace() seals.Pace {
	t := k.n.cfg.Timing
	return seals.Pace{Healthy: t.Probe, Failing: t.ProbeFailing, Describe: t.Describe}
}

// lost returns what to do while an unsealed server would not unseal again, "" for a failure that an
// operator of the device or service ends.
func (n *Node) lost(st seals.Status) string {
	switch st.Class {
	case seals.KeyGone, seals.KeyDisabled, seals.PendingDeletion, seals.WrongKey, seals.Corrupt:
	default:
		return ""
	}
	if n.sealed() || n.seals.Load().WouldUnseal() {
		return ""
	}
	return "this server is still unsealed: do not restart or seal it until this is solved; " + st.Remedy +
		"; or make a new key under the configured name and run `sealgate write -f sys/rotate/root`, " +
		"which needs nothing that the old key wrapped"
}

// checkRecord logs how the sealed record differs from the configuration. Where the configuration
// allows a change of the policy, the node that writes wraps the root key by the configured one.
func (k *sealKeeper) checkRecord(ctx context.Context, set *seals.Set) {
	n := k.n
	text := strings.Join(n.recordWarnings(n.state.Load().record), "; ")
	if text != k.warned && text != "" {
		n.log.Warn("the sealed root key differs from the configuration", "difference", text)
	}
	k.warned = text
	drift, _ := set.PolicyDrift(n.state.Load().record)
	if drift == "" || !set.AllowsPolicyChange() || set.NeedsShares() || n.writer() == nil {
		return
	}
	now := time.Now()
	if now.Before(k.postpone[""]) {
		return
	}
	if err := n.RewrapSeals(ctx, itself); err != nil && ctx.Err() == nil {
		if k.postpone == nil {
			k.postpone = map[string]time.Time{}
		}
		k.postpone[""] = now.Add(clock.Jitter(rewrapAgain))
		class, cause, remedy := diagnosis(err)
		n.log.Warn("the root key could not be wrapped by the configured seal_policy; it is tried again",
			"class", string(class), "cause", cause, "remedy", remedy)
	}
}

// loopText is the warning of a cluster that unseals through itself.
const loopText = "this cluster unseals through a cluster that unseals through this one: once both " +
	"are sealed, neither " +
	"can unseal; give one of them a seal that depends on no other cluster"

// checkLoop logs that a loop of clusters was found, once.
func (k *sealKeeper) checkLoop(set *seals.Set) {
	r := k.n.state.Load().record
	loops := seals.Loops(r, set.Upstreams(r))
	if loops && !k.looped {
		k.n.log.Warn("ALARM: "+loopText, "clusters", set.Upstreams(r))
	}
	k.looped = loops
}

// logProof logs when a seal would no longer unseal, or would again.
func (k *sealKeeper) logProof(before, now seals.Status) {
	switch {
	case now.Class == before.Class:
	case now.WouldUnseal:
		k.n.log.Info("this seal would unseal the server again", "seal", now.Name, "type", now.Type)
	default:
		k.n.log.Warn("this seal would not unseal the server", "seal", now.Name, "type", now.Type,
			"class", string(now.Class), "cause", now.Cause, "remedy", cmp.Or(k.n.lost(now), now.Remedy))
	}
}

// logKey logs the state of a seal's key: when it changes, and once a day while the key is scheduled
// for deletion.
func (k *sealKeeper) logKey(before, now seals.Status) {
	log := k.n.log
	if now.KeyState != before.KeyState && before.KeyState != "" {
		log.Info("the state of a seal's key changed", "seal", now.Name, "type", now.Type,
			"from", before.KeyState, "to", now.KeyState)
	}
	if now.KeyTrouble != before.KeyTrouble && now.KeyTrouble != "" {
		log.Info("the state of this seal's key cannot be read", "seal", now.Name, "type", now.Type,
			"cause", now.KeyTrouble)
	}
	k.logLimits(before, now)
	last, ever := k.alarms[now.Name]
	switch {
	case now.Deletion == nil && ever:
		delete(k.alarms, now.Name)
		log.Info("this seal's key is no longer scheduled for deletion", "seal", now.Name, "type", now.Type)
	case now.Deletion == nil:
	case !ever || !last.deletion.Equal(*now.Deletion) || k.n.cfg.Now().Sub(last.at) >= repeatAlarm:
		if k.alarms == nil {
			k.alarms = map[string]alarm{}
		}
		k.alarms[now.Name] = alarm{*now.Deletion, k.n.cfg.Now()}
		log.Warn("ALARM: "+deletionText(now), "seal", now.Name, "type", now.Type,
			"deletion", now.Deletion.UTC().Format(time.RFC3339))
	}
}

// logLimits logs what is about to end the use of a seal, when it becomes known and once a day.
func (k *sealKeeper) logLimits(before, now seals.Status) {
	at := k.n.cfg.Now()
	for _, l := range now.Limits {
		name := now.Name + "\x00" + l.What + "\x00" + l.Danger
		if !l.Soon(at) {
			delete(k.limits, name)
			continue
		}
		if last, ever := k.limits[name]; ever && at.Sub(last) < repeatAlarm {
			continue
		}
		if k.limits == nil {
			k.limits = map[string]time.Time{}
		}
		k.limits[name] = at
		text := fmt.Sprintf("the %s of a seal: %s", l.What, l.Danger)
		if l.At != nil {
			text = fmt.Sprintf("the %s of a seal expires at %s", l.What, l.At.UTC().Format(time.RFC3339))
		}
		k.n.log.Warn("ALARM: "+text, "seal", now.Name, "type", now.Type, "remedy", l.Remedy)
	}
	for _, l := range before.Limits {
		if l.Danger != "" && !slices.ContainsFunc(now.Limits, func(o seals.Limit) bool { return o.Danger == l.Danger }) {
			delete(k.limits, now.Name+"\x00"+l.What+"\x00"+l.Danger)
		}
	}
}

func deletionText(st seals.Status) string {
	return fmt.Sprintf("the key of seal %q (%s, %s) will be destroyed at %s, and then nothing that it wrapped can be "+
		"opened: cancel the deletion, or make another seal hold the root key before that",
		st.Name, st.Type, st.KeyID, st.Deletion.UTC().Format(time.RFC3339))
}

// rewrap makes one seal wrap its part of the root key by the newest version of its key, so that
// nothing needs the old version. Only the node that writes does so.
func (k *sealKeeper) rewrap(ctx context.Context, st seals.Status) {
	now := time.Now()
	if now.Before(k.postpone[st.Name]) {
		return
	}
	a := k.n.writer()
	if a == nil {
		return
	}
	if err := k.rewrapAudited(ctx, a, st); err != nil && ctx.Err() == nil {
		if k.postpone == nil {
			k.postpone = map[string]time.Time{}
		}
		k.postpone[st.Name] = now.Add(clock.Jitter(rewrapAgain))
		class, cause, remedy := diagnosis(err)
		k.n.log.Warn("a seal's key has a newer version, and the root key could not be wrapped by it; "+
			"the old version is still needed, and it is tried again",
			"seal", st.Name, "type", st.Type, "needed", st.KeyVersion, "newest", st.KeyNewest,
			"class", string(class), "cause", cause, "remedy", remedy)
	}
}
