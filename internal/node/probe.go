package node

import (
	"context"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// keyCare is what Run remembers of the seals' keys, by the seal's name.
type keyCare struct {
	told     map[string]alarm     // deletions that the log told of
	postpone map[string]time.Time // seals that could not wrap again, until when they are left alone
}

type alarm struct{ deletion, at time.Time }

// tellAgain is how often the log repeats that a key will be destroyed.
const tellAgain = 24 * time.Hour

// probe gives the seals whose time has come their turn, tells what changed, has those wrap again whose key has a newer version, and
// returns the wait until the next turn.
func (n *Node) probe(ctx context.Context) time.Duration {
	set := n.seals.Load()
	before := map[string]seals.Status{}
	for _, st := range set.Status() {
		before[st.Name] = st
	}
	t := n.cfg.Timing
	wait := set.RunHealthChecks(ctx, n.state.Load().record, seals.Pace{Healthy: t.Probe, Failing: t.ProbeFailing, Describe: t.Look})
	if ctx.Err() != nil {
		return 0
	}
	for _, st := range set.StatusOf(n.state.Load().record) {
		n.tellProof(before[st.Name], st)
		n.tellKey(before[st.Name], st)
		if st.RewrapDue {
			n.rewrapByItself(ctx, st)
		}
	}
	return wait
}

// tellProof logs when a seal would unseal no more, or again.
func (n *Node) tellProof(before, now seals.Status) {
	switch {
	case now.Class == before.Class:
	case now.WouldUnseal:
		n.log.Info("this seal would unseal the server again", "seal", now.Name, "type", now.Type)
	default:
		n.log.Warn("this seal would not unseal the server", "seal", now.Name, "type", now.Type,
			"class", string(now.Class), "cause", now.Cause, "remedy", now.Remedy)
	}
}

// tellKey logs what became of a seal's key: at once when it changes, and once a day while the key is going to be destroyed.
func (n *Node) tellKey(before, now seals.Status) {
	if now.KeyState != before.KeyState && before.KeyState != "" {
		n.log.Info("the state of a seal's key changed", "seal", now.Name, "type", now.Type, "from", before.KeyState, "to", now.KeyState)
	}
	if now.KeyTrouble != before.KeyTrouble && now.KeyTrouble != "" {
		n.log.Info("less is known of this seal's key than could be", "seal", now.Name, "type", now.Type, "cause", now.KeyTrouble)
	}
	last, ever := n.keys.told[now.Name]
	switch {
	case now.Deletion == nil && ever:
		delete(n.keys.told, now.Name)
		n.log.Info("this seal's key is no longer going to be destroyed", "seal", now.Name, "type", now.Type)
	case now.Deletion == nil:
	case !ever || !last.deletion.Equal(*now.Deletion) || n.cfg.Now().Sub(last.at) >= tellAgain:
		if n.keys.told == nil {
			n.keys.told = map[string]alarm{}
		}
		n.keys.told[now.Name] = alarm{*now.Deletion, n.cfg.Now()}
		n.log.Warn("ALARM: "+deletionText(now), "seal", now.Name, "type", now.Type, "deletion", now.Deletion.UTC().Format(time.RFC3339))
	}
}

func deletionText(st seals.Status) string {
	return fmt.Sprintf("the key of seal %q (%s, %s) will be destroyed at %s, and then nothing that it wrapped can be opened: cancel the deletion, "+
		"or make another seal hold the root key before that", st.Name, st.Type, st.KeyID, st.Deletion.UTC().Format(time.RFC3339))
}
