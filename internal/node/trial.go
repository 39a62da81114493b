package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
	"github.com/sealgate/sealgate/seals"
)

// A trial is random bytes that the leader wrapped with a seal which is to be added, or with a key
// which is to replace that of a seal. Each node opens it with its own credentials and reports that
// to the leader: neither enters the sealed record while a node of the cluster cannot use it.
//
//	leader                         storage, behind the barrier      standby
//	wrap random bytes ──commit──▶  core/seal-trials/<seal> ──watch──▶ open, compare
//	all proven? ◀───────────── announcement (mutual TLS) ────────────── report
//	commit the record, remove the trial
//
// JSON, with the version in "v".
type trial struct {
	Version int       `json:"v"`
	ID      string    `json:"id"`
	Made    time.Time `json:"made"`
	Part    []byte    `json:"part"`          // seals.MarshalPart
	Key     string    `json:"key,omitempty"` // id of the key that is to replace the seal's
}

const (
	pathTrials   = "core/seal-trials/" // + name of the seal
	trialVersion = 1
	trialLife    = time.Hour              // after which an unfinished addition is forgotten
	trialPoll    = 100 * time.Millisecond // between checks of what the nodes have announced
)

func unmarshalTrial(raw []byte) (*trial, *seals.Part, error) {
	t := &trial{}
	if err := json.Unmarshal(raw, t); err != nil || t.Version != trialVersion || t.ID == "" {
		return nil, nil, fmt.Errorf("node: an entry below %s is malformed, or of a newer program", pathTrials)
	}
	p, err := seals.UnmarshalPart(t.Part)
	return t, p, err
}

func readTrial(ctx context.Context, b *barrier.Barrier, name string) (*trial, *seals.Part, error) {
	raw, err := b.Get(ctx, pathTrials+name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return unmarshalTrial(raw)
}

// sealTrials is this node's proofs of the trials in its cluster.
type sealTrials struct {
	n   *Node
	due atomic.Bool

	mu   sync.Mutex
	done map[string]trialReport // by the trial's id
	read map[string]time.Time   // when the configuration was read again, by the id
}

// check makes Run prove the trials.
func (t *sealTrials) check() {
	t.due.Store(true)
	t.n.poke()
}

func (t *sealTrials) results() []trialReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []trialReport
	for _, r := range t.done {
		out = append(out, r)
	}
	return out
}

// note records the proof of a trial, and returns the one before.
func (t *sealTrials) note(r trialReport) (before trialReport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done == nil {
		t.done = map[string]trialReport{}
	}
	before, t.done[r.ID] = t.done[r.ID], r
	return before
}

func (t *sealTrials) proven(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done[id].Done
}

// keep forgets the proofs of trials that are no more.
func (t *sealTrials) keep(ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.done {
		if !slices.Contains(ids, id) {
			delete(t.done, id)
			delete(t.read, id)
		}
	}
}

// prove opens the trials that this node has not proven yet. Run calls it; a trial that fails is
// tried again after trialRetry.
func (t *sealTrials) prove(ctx context.Context) {
	a := t.n.role.Load()
	if a == nil || !t.due.Swap(false) {
		return
	}
	names, err := a.barrier.List(ctx, pathTrials, "", 0)
	if err != nil {
		t.due.Store(true)
		return
	}
	ids, changed := []string{}, false
	for _, name := range names {
		tr, part, err := readTrial(ctx, a.barrier, name)
		if err != nil || tr == nil {
			continue // the leader reports a damaged one
		}
		ids = append(ids, tr.ID)
		if t.proven(tr.ID) {
			continue
		}
		err = t.open(ctx, tr, part)
		if err != nil {
			t.due.Store(true)
		}
		changed = true
	}
	t.keep(ids)
	if changed && t.n.Clustered() {
		t.n.replica.Notify() // announce it now
	}
}

// open proves one trial. Where its seal is not configured, the configuration is read again.
func (t *sealTrials) open(ctx context.Context, tr *trial, part *seals.Part) error {
	n := t.n
	if _, ok := n.seals.Load().Member(part.Name); !ok && t.readAgain(tr.ID) {
		if err := n.readSeals(ctx); err != nil {
			n.log.Warn("the seals of the changed configuration cannot be used", "error", err)
		}
	}
	err := n.seals.Load().OpenTrial(ctx, n.state.Load().record.Cluster, part)
	r := trialReport{ID: tr.ID, Seal: part.Name, Done: err == nil}
	if err != nil {
		class, cause, remedy := diagnosis(err)
		r.Cause = cut(string(class) + ": " + cause + "; " + remedy)
	}
	if before := t.note(r); err != nil && r.Cause != before.Cause { // else the log has it already
		n.log.Warn("a seal or a key is to hold the root key, and this node cannot use it", "seal", part.Name,
			"cause", r.Cause)
	}
	if err == nil {
		n.log.Info("this node has proven that it can use a seal or a key which is to hold the root key", "seal", part.Name)
	}
	return err
}

const (
	trialRetry = 2 * time.Second // after which a trial that failed is tried again: an operator waits
	readPause  = time.Second     // the least time between reads of the configuration for one trial
)

func (t *sealTrials) readAgain(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.n.cfg.Now()
	if last, ok := t.read[id]; ok && now.Sub(last) < readPause {
		return false
	}
	if t.read == nil {
		t.read = map[string]time.Time{}
	}
	t.read[id] = now
	return true
}

// readSeals reads the seal stanzas of the configuration again, where the server can do that.
func (n *Node) readSeals(ctx context.Context) error {
	if n.cfg.ReadSeals == nil {
		return nil
	}
	return n.cfg.ReadSeals(ctx)
}

// trialFor returns the trial of a seal that is to be added, or of a key that is to replace the
// seal's, and makes one where there is none.
func (s SealAdmin) trialFor(ctx context.Context, a *RoleState, name, key string) (*trial, error) {
	n := s.n
	old, part, err := readTrial(ctx, a.barrier, name)
	if err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the trial of the seal cannot be read")
	}
	set, cluster := n.seals.Load(), n.state.Load().record.Cluster
	if old != nil && old.Key == key && n.cfg.Now().Sub(old.Made) < trialLife && set.OpenTrial(ctx, cluster, part) == nil {
		n.trials.note(trialReport{ID: old.ID, Seal: name, Done: true})
		return old, nil
	}
	if key == "" {
		part, err = set.Trial(ctx, cluster, name)
	} else {
		part, err = set.TrialOfKey(ctx, cluster, name, key)
	}
	if err != nil {
		return nil, sealFault(err, "nothing was changed: the seal cannot be used")
	}
	id, err := uuid.New(n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	t := &trial{Version: trialVersion, ID: id, Made: n.cfg.Now().UTC(), Key: key}
	if t.Part, err = seals.MarshalPart(part); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	err = a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathTrials+name, raw)}})
	if err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the trial of the seal cannot be written")
	}
	n.trials.note(trialReport{ID: id, Seal: name, Done: true})
	return t, nil
}

// unproven lists the nodes that have not proven a trial, each with what it reports.
func (s SealAdmin) unproven(t *trial) (out []string) {
	for _, r := range s.reports() {
		at := slices.IndexFunc(r.Trials, func(p trialReport) bool { return p.ID == t.ID })
		switch {
		case at < 0 && !r.known:
			out = append(out, r.node+": reports nothing (an older program, or it has just started)")
		case at < 0:
			out = append(out, r.node+": has not answered yet")
		case !r.Trials[at].Done:
			out = append(out, r.node+": "+r.Trials[at].Cause)
		}
	}
	return out
}

// await waits until every node has proven a trial, at most Timing.Trial, and returns those that
// have not.
func (s SealAdmin) await(ctx context.Context, t *trial) []string {
	waiting := s.unproven(t)
	if len(waiting) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.n.cfg.Timing.Trial)
	defer cancel()
	tick := time.NewTicker(trialPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return waiting
		case <-tick.C:
			if waiting = s.unproven(t); len(waiting) == 0 {
				return nil
			}
		}
	}
}

// endTrials removes trials whose addition was not finished.
func (s SealAdmin) endTrials(ctx context.Context) {
	n := s.n
	a := n.writer()
	if a == nil {
		return
	}
	names, err := a.barrier.List(ctx, pathTrials, "", 0)
	if err != nil {
		return
	}
	for _, name := range names {
		t, _, err := readTrial(ctx, a.barrier, name)
		if t == nil && err == nil || err == nil && n.cfg.Now().Sub(t.Made) < trialLife {
			continue
		}
		if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(pathTrials + name)}}); err != nil {
			n.log.Warn("the trial of a seal that was not added could not be removed; it is tried again", "error", err)
		}
	}
}
