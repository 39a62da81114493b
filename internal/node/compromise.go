package node

import (
	"context"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
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
// It returns when the control records are re-encrypted, from which moment on none of an old term is
// believed; where there are many, before that, with the job in its first phase.
func (k KeyAdmin) ReplaceCompromised(ctx context.Context, rate int) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	job, controlled, err := k.replaceKeys(ctx, w, rate)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(controlWithin)
	defer timer.Stop()
	select {
	case <-controlled:
	case <-timer.C:
	case <-ctx.Done():
	}
	if now, err := w.current(ctx); err == nil && now != nil {
		job = now
	}
	return job, nil
}

// replaceKeys is the commit of ReplaceCompromised. controlled is closed when the control records
// are re-encrypted.
func (k KeyAdmin) replaceKeys(ctx context.Context, w *dataRewrap, rate int) (job *RewrapJob,
	controlled <-chan struct{}, err error) {
	n := k.n
	if rate < 0 || rate > maxRewrapRate {
		return nil, nil, fault.New(fault.Invalid, "rate must be 0 to %d entries per second", maxRewrapRate)
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return nil, nil, err
	}
	if a.rewrap != w {
		return nil, nil, errBetweenRoles
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	job, err = w.fresh(w.b.KeyStatus().Term + 1)
	if err != nil {
		return nil, nil, err
	}
	job.Rate, job.Retire, job.Compromised, job.Phase = rate, true, true, phaseControl
	job.Change = changedOutside(a, n.state.Load())
	job.Updated = n.cfg.Now().UTC()
	tx := w.b.Begin()
	tx.RotateKeyring()
	tx.Distrust(job.Target)
	tx.Put(pathRewrapJob, job.marshal())
	failpoint.Point("compromise.commit")
	w.loaded = false // until the outcome is known
	if err := (ceremonyHost{n}).RenewRoot(ctx, tx, nil, false); err != nil {
		return nil, nil, err
	}
	w.job, w.loaded, w.renew, w.controlled = job, true, true, make(chan struct{})
	token.ForgetBatch(w.tokens)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	n.poke()
	n.log.Warn("replaced the root key and the barrier key, because the old ones may be known to others; all data is "+
		"re-encrypted now", "term", job.Target, "generation", w.b.RootGeneration())
	return job, w.controlled, nil
}

const (
	// controlWithin bounds the wait for the control records.
	controlWithin = 20 * time.Second
	// stepDownWithin bounds the change of leadership after a compromise; it is tried again.
	stepDownWithin = 20 * time.Second
)

// renewAuthority steps down once after a compromise, when the control records are re-encrypted: the
// key of the certificate authority of this leadership is behind the barrier, by a term that others
// may have.
func (k KeyAdmin) renewAuthority(ctx context.Context) {
	n := k.n
	a := n.writer()
	if a == nil || a.leadership == nil || a.rewrap == nil {
		return
	}
	a.rewrap.mu.Lock()
	renew := a.rewrap.renew
	a.rewrap.mu.Unlock()
	if before, refused := a.barrier.Distrusted(); !renew || before > 0 && !refused {
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
		{"access", "who also wrote the storage may have planted tokens, users, policies and mounts before this moment: " +
			"compare them with your own records, and remove what is not yours"},
		{"signatures", "rotate the key that signs snapshots (sealgate operator snapshot rotate-key) and publish its " +
			"new public half; exports of the transcript that others made since may be forged"},
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
