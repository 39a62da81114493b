package node

import (
	"context"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
)

// ChangedOutside is something that the old keys could have read, and that replacing them does not
// change.
type ChangedOutside struct {
	What string `json:"what"`
	Do   string `json:"do"`
}

// ReplaceCompromised replaces all keys of the barrier, because others may have the old ones: a new
// root key, wrapped by the seals, and a new term, in one commit with the rewrap that then
// re-encrypts all data and destroys the old terms. Nothing that is written afterwards opens with
// the old root key or the old keyring.
//
// The new root key reaches the standbys through their seals, or, under a Shamir seal, encrypted to
// the keys that they announced over mutual TLS. Then this node steps down, so that the next
// leadership has a certificate authority whose key the old keyring does not open.
//
// From this commit on, batch tokens of the old terms are refused: who has such a term can make one.
func (k KeyAdmin) ReplaceCompromised(ctx context.Context, rate int) (*RewrapJob, error) {
	n := k.n
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	if rate < 0 || rate > maxRewrapRate {
		return nil, fault.New(fault.Invalid, "rate must be 0 to %d entries per second", maxRewrapRate)
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	if a.rewrap != w {
		return nil, errBetweenRoles
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	job, err := w.fresh(w.b.KeyStatus().Term + 1)
	if err != nil {
		return nil, err
	}
	job.Rate, job.Retire, job.Compromised, job.Epoch = rate, true, true, w.b.Epoch()
	job.Change = changedOutside(a, n.state.Load())
	job.Updated = n.cfg.Now().UTC()
	tx := w.b.Begin()
	tx.RotateKeyring()
	tx.Put(pathRewrapJob, job.marshal())
	failpoint.Point("compromise.commit")
	w.loaded = false // until the outcome is known
	if err := (ceremonyHost{n}).RenewRoot(ctx, tx, nil, false); err != nil {
		return nil, err
	}
	w.job, w.loaded = job, true
	w.b.RefuseBefore(job.Target)
	token.ForgetBatch(w.tokens)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	n.poke()
	n.log.Warn("replaced the root key and the barrier key, because the old ones may be known to others; all data is "+
		"re-encrypted now", "term", job.Target, "generation", w.b.RootGeneration())
	return job, nil
}

// refuseCompromised makes a barrier refuse what the terms sealed that a compromise has replaced.
func refuseCompromised(ctx context.Context, b *barrier.Barrier) error {
	job, err := readRewrapJob(ctx, b)
	if err == nil && job != nil && job.Compromised {
		b.RefuseBefore(job.Target)
	}
	return err
}

// stepDownWithin bounds the change of leadership after a compromise; it is tried again.
const stepDownWithin = 20 * time.Second

// renewAuthority steps down once after a compromise: the key of the certificate authority of this
// leadership is behind the barrier, by a term that others may have.
func (k KeyAdmin) renewAuthority(ctx context.Context) {
	n := k.n
	a := n.writer()
	if a == nil || a.leadership == nil || a.rewrap == nil {
		return
	}
	a.rewrap.mu.Lock()
	job := a.rewrap.job
	a.rewrap.mu.Unlock()
	if job == nil || !job.Compromised || job.Epoch != a.leadership.Epoch() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepDownWithin)
	defer cancel()
	n.log.Info("stepping down, so that the next leader issues certificates from a new authority")
	if err := n.replica.StepDown(ctx); err != nil {
		n.log.Warn("the node could not step down; it is tried again", "error", err)
	}
}

// changedOutside lists what the old keys could have read.
func changedOutside(a *RoleState, state *nodeState) []ChangedOutside {
	out := []ChangedOutside{
		{"tokens", "service tokens are stored as hashes alone; revoke those that were wrapped (sys/wrapping), and log in " +
			"again where a batch token was used: those of the old terms have ended"},
		{"storage", "destroy copies, snapshots and backups from before: the old keys open them"},
		{"audit devices", "disable and enable each one, which makes a new key for its hashes"},
	}
	for _, m := range a.mounts.List() {
		if do := changeMount(m.Type, m.Path); do != "" {
			out = append(out, ChangedOutside{m.Path, do})
		}
	}
	for _, m := range a.authMethods.List() {
		out = append(out, ChangedOutside{"auth/" + m.Path, changeAuth(m.Type)})
	}
	if state.shareSet != nil {
		out = append(out, ChangedOutside{"shares", "the store holds only hashes of shares; rekey (sealgate operator " +
			"rotate-keys) where a share was kept with the old keys, or where unseal shares could be read"})
	}
	if state.breakGlass {
		out = append(out, ChangedOutside{"break-glass", "the new root key is wrapped to the quorum again; the keys that " +
			"authenticate its record could have been read: rekey the recovery shares, whose holders then enrol again"})
	}
	return out
}

// changeMount says what to do for a secrets engine; "" for those that hold nothing.
func changeMount(kind, path string) string {
	switch kind {
	case "system", "identity", "ns_system":
		return ""
	case "kv":
		return "change every secret at its source, and write the new one"
	case "cubbyhole":
		return "write its secrets again; responses that are wrapped now could have been read"
	case "transit":
		return fmt.Sprintf("rotate each key (sealgate write -f %skeys/NAME/rotate), rewrap what it encrypted, then raise "+
			"min_decryption_version; keys in a device could not be read", path)
	default:
		return "change its keys and credentials at their source"
	}
}

func changeAuth(kind string) string {
	switch kind {
	case "token":
		return "nothing: it stores hashes"
	case "approle":
		return "make new secret ids, and revoke the old ones"
	case "userpass":
		return "change the passwords: their hashes could have been read"
	default:
		return "change the credentials in its configuration"
	}
}
