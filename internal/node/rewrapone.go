package node

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// rewrapAgain is how long a seal that could not wrap again is left alone.
const rewrapAgain = time.Minute

// pathRewrap stands for the re-wrap in the audit trail, whether an operator asked for it or the node did it by itself.
const pathRewrap = "sys/sealwrap/rewrap"

// rewrapByItself has one seal wrap its part of the root key again, because its key has another version now: then nothing needs the old
// one. Only the node that writes does so.
func (n *Node) rewrapByItself(ctx context.Context, st seals.Status) {
	now := time.Now()
	if now.Before(n.keys.postpone[st.Name]) {
		return
	}
	a := n.writer()
	if a == nil {
		return
	}
	if err := n.rewrapAudited(ctx, a, st); err != nil && ctx.Err() == nil {
		if n.keys.postpone == nil {
			n.keys.postpone = map[string]time.Time{}
		}
		n.keys.postpone[st.Name] = now.Add(jitter(rewrapAgain))
		class, cause, remedy := diagnosis(err)
		n.log.Warn("a seal's key has a newer version, and the root key could not be wrapped by it; the old version is still needed, and it is tried again",
			"seal", st.Name, "type", st.Type, "needed", st.KeyVersion, "newest", st.KeyNewest,
			"class", string(class), "cause", cause, "remedy", remedy)
	}
}

// rewrapAudited tells the trail before and after. What it cannot tell does not happen.
func (n *Node) rewrapAudited(ctx context.Context, a *RoleState, st seals.Status) error {
	if n.cfg.Trail == nil {
		return n.rewrapOne(ctx, a, st)
	}
	rec := n.cfg.Trail.Begin(&audit.Request{
		Operation: "update", Path: pathRewrap, Plain: []string{"seal", "old_version", "new_version"},
		Data: auditData(map[string]string{"seal": st.Name, "old_version": st.KeyVersion, "new_version": st.KeyNewest}),
	}, &audit.Auth{DisplayName: "the server itself", NoDefault: true})
	if err := rec.Request(""); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the re-wrap cannot be audited, so nothing was done")
	}
	err := n.rewrapOne(ctx, a, st)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if failed := rec.Response(nil, text); failed != nil && err == nil {
		n.log.Error("a re-wrap that was done could not be audited", "seal", st.Name, "error", failed)
	}
	return err
}

// rewrapOne asks the seal without holding anybody up, and commits only where nothing else was stored meanwhile.
func (n *Node) rewrapOne(ctx context.Context, a *RoleState, st seals.Status) error {
	before := n.state.Load().record
	record, moved, err := n.seals.Load().Rewrap(ctx, before, st.Name)
	if err != nil || !moved {
		return err
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if n.role.Load() != a || n.state.Load().record != before {
		return fault.New(fault.Unavailable, "the root key was sealed anew meanwhile; nothing was changed")
	}
	tx := a.barrier.Begin()
	tx.PutRaw(keySealed, raw)
	failpoint.Point("rewrap.commit")
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the re-wrapped root key could not be written; the old record stays, and both open")
	}
	n.change(func(f *nodeState) { f.record = record })
	for _, p := range record.Parts {
		if p.Name == st.Name {
			n.log.Info("a seal wrapped the root key by the newest version of its key; nothing stored needs the old one", "seal", p.Name, "type", p.Type,
				"old_key", st.KeyID, "old_version", st.KeyVersion, "new_key", p.KeyID, "new_version", p.KeyVersion)
		}
	}
	return nil
}

func auditData(m map[string]string) json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}
