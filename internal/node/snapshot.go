package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/seals"
)

// pathSums is the path to which the checksums of a snapshot are sealed. Nothing is stored there.
const pathSums = "core/snapshot-sums"

// restoreTime bounds the replacement of the data after a restore was decided. The next attempt to
// unseal finishes what is left then.
const restoreTime = 30 * time.Minute

// restorer replaces the node's data by a snapshot.
type restorer struct{ n *Node }

// Snapshot writes all entries of the storage to w, as of one moment and still encrypted. Damaged
// entries are an error, unless skipDamaged leaves them out and lists them in the snapshot.
func (n *Node) Snapshot(ctx context.Context, w io.Writer, skipDamaged bool) (snapshot.Totals, error) {
	a, err := n.Role()
	if err != nil {
		return snapshot.Totals{}, err
	}
	f := n.state.Load()
	meta := snapshot.Meta{
		Created: n.cfg.Now().UTC(), ClusterID: f.record.Cluster, ClusterName: f.clusterName,
		Storage: n.cfg.StorageType, Program: "Sealgate",
	}
	if skipDamaged {
		if meta.Skipped, err = snapshot.Damaged(ctx, n.cfg.Store); err != nil {
			return snapshot.Totals{}, barrier.Fault(err, "the storage could not be checked")
		}
		if len(meta.Skipped) > 0 {
			n.log.Warn("a snapshot leaves out damaged entries", "entries", meta.Skipped)
		}
	}
	signer := snapshotSigner{n}
	if meta.Signer, err = signer.current(ctx, a.barrier); err != nil {
		return snapshot.Totals{}, err
	}
	totals, err := snapshot.Save(ctx, w, n.cfg.Store, meta, signer.proof(ctx, a.barrier, meta.Signer))
	if errors.Is(err, snapshot.ErrUnsupported) {
		return totals, fault.Wrap(err, fault.Invalid,
			"the storage %q cannot make a consistent copy of itself", n.cfg.StorageType)
	}
	if errors.Is(err, storage.ErrCorrupt) {
		return totals, fault.Wrap(err, fault.Internal, "the snapshot could not be made: %v; overwrite or delete them, or "+
			"leave them out with -skip-damaged (?skip_damaged=true)", err)
	}
	if err == nil {
		SealAdminOf(n).noteSnapshot(ctx, a, f.record, meta.Created)
	}
	return totals, barrier.Fault(err, "the snapshot could not be made")
}

// Restore replaces all entries of the storage by a snapshot. It reads the archive three times: to
// check it, so that a snapshot that is damaged, of another cluster (unless forced), or that could
// not be unsealed here changes nothing; and to bring it into the storage beside the data in use.
// One commit decides. The node that unseals next finishes the rest, if this one cannot.
//
// It calls decided, unless that is nil, after the commit that decides and before the role ends,
// whose audit devices can still record the result.
func (n *Node) Restore(ctx context.Context, archive io.ReadSeeker, force bool, decided func() error) (*snapshot.Info,
	error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	info, err := (restorer{n}).restorable(ctx, a, archive, force)
	if err != nil {
		return nil, err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	pieces, err := snapshot.Stage(ctx, n.cfg.Store, a.barrier.Epoch(), archive)
	if err != nil {
		return nil, restoreFault(err)
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if again, err := n.Role(); err != nil || again != a {
		return nil, fault.New(fault.Unavailable, "the node was sealed meanwhile; nothing was changed; try again")
	}
	failpoint.Point("restore.decide")
	state := snapshot.State{Pieces: pieces, Started: n.cfg.Now().UTC(), Meta: info.Meta}
	if err := snapshot.Decide(ctx, n.cfg.Store, a.barrier.Epoch(), state); err != nil {
		return nil, restoreFault(err)
	}
	var unrecorded error
	if decided != nil {
		unrecorded = decided()
	}
	return info, errors.Join((restorer{n}).replaceData(ctx, a, info), unrecorded)
}

// replaceData carries out a restore that was decided, whether or not the client still waits. The
// caller holds transition.
func (r restorer) replaceData(ctx context.Context, a *RoleState, info *snapshot.Info) error {
	n := r.n
	log := n.log.With("cluster", info.ClusterName, "taken", info.Created, "entries", info.Entries)
	log.Warn("a snapshot is replacing the data")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	epoch := a.barrier.Epoch()
	if err := (replicaHost{n}).suspend(ctx, a); err != nil {
		n.log.Debug("the encryption counts of the replaced data could not be written", "error", err)
	}
	if err := snapshot.Finish(ctx, n.cfg.Store, epoch); err != nil {
		(replicaHost{n}).leave()
		n.poke()
		return restoreFault(err)
	}
	(replicaHost{n}).leave()
	n.forgetShares()
	n.restored.Store(true)
	n.change(func(f *nodeState) {
		f.shareSet, f.previous, f.clusterName, f.breakGlass = nil, nil, "", false
	})
	log.Warn("a snapshot replaced the data")
	if err := n.unsealBySeals(ctx); err != nil {
		n.poke() // Run tries again, and reports why it fails
	}
	r.logRecord(info)
	return nil
}

// restorable reads the whole archive and checks that this server may be replaced by it and could
// unseal it.
func (r restorer) restorable(ctx context.Context, a *RoleState, archive io.Reader, force bool) (*snapshot.Info, error) {
	n := r.n
	c, err := readContent(ctx, archive)
	if err != nil {
		return nil, err
	}
	info, record := c.info, c.record
	ours := record.Cluster == n.state.Load().record.Cluster
	if id, ok := barrier.TermOf(info.Sealed); ours && !force && ok && !trustsTerm(a.barrier, id) {
		return nil, oldTermFault(info, id, a.barrier.OldestTerm())
	}
	if ours {
		sums, err := a.barrier.OpenEntry(pathSums, info.Sealed)
		ours = err == nil && bytes.Equal(sums, info.Sums)
	}
	if !ours && !force {
		return nil, fault.New(fault.Invalid, "could not verify hash file, possibly the snapshot is using a different set of "+
			"unseal keys; nothing was changed: it is of the cluster %q (%s), taken %s; use the snapshot-force API (-force) "+
			"to replace this cluster by it", info.ClusterName, record.Cluster, info.Created.Format(time.RFC3339))
	}
	if ours {
		if err := (snapshotSigner{n}).check(ctx, c, a.barrier.OpenEntry); err != nil {
			return nil, err
		}
	}
	return info, r.opensHere(ctx, record, c.keyring)
}

// trustsTerm reports whether what a term sealed proves that this cluster made it.
func trustsTerm(b *barrier.Barrier, id uint32) bool {
	distrusted, _ := b.Distrusted()
	return id >= b.OldestTerm() && id >= distrusted
}

// oldTermFault refuses a snapshot of this cluster whose term was destroyed, or may be known to
// others.
func oldTermFault(info *snapshot.Info, id, oldest uint32) error {
	why := fmt.Sprintf("was destroyed since (the oldest one left is term %d)", oldest)
	if id >= oldest {
		why = "may be known to others since `rotate -compromised`"
	}
	return fault.New(fault.Invalid, "could not verify hash file, possibly the snapshot is using a different set of "+
		"unseal keys; nothing was changed: the snapshot of %s is of this cluster and needs term %d, which %s, so this "+
		"server cannot tell whether it made it, and a restore brings that key back. Check its signature first (sealgate "+
		"operator snapshot inspect -public-key=KEY FILE); then have a quorum authorise it (sealgate operator authorize "+
		"-purpose=restore -init), and run sealgate operator snapshot restore -force FILE",
		info.Created.Format(time.RFC3339), id, why)
}

// opensHere refuses a snapshot that this server could never unseal. Under a Shamir seal only the
// shares can show that.
func (r restorer) opensHere(ctx context.Context, record *seals.Record, keyring []byte) error {
	n := r.n
	set := n.seals.Load()
	if set.NeedsShares() {
		if len(record.ShareSet) == 0 {
			return fault.New(fault.Invalid, "nothing was changed: the snapshot is of a server that unseals automatically, and "+
				"this one has a Shamir seal; configure the seals that the snapshot was made with")
		}
		return nil
	}
	root, err := set.Unwrap(ctx, record, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: the seals of this server do not unwrap the root key in the snapshot")
	}
	defer root.Destroy()
	if err := barrier.Opens(keyring, root, record.Generation); err != nil {
		return fault.Wrap(err, fault.Invalid,
			"nothing was changed: the keyring in the snapshot does not open with its root key: %v", err)
	}
	return nil
}

func restoreFault(err error) error {
	switch {
	case errors.Is(err, snapshot.ErrDamaged), errors.Is(err, snapshot.ErrForeign):
		return fault.Wrap(err, fault.Invalid, "nothing was changed: %v; save a new snapshot, or use another one", err)
	case errors.Is(err, snapshot.ErrUnderWay):
		return fault.Wrap(err, fault.Unavailable, "another restore is in progress; wait until it has ended")
	case errors.Is(err, snapshot.ErrUnsupported):
		return fault.Wrap(err, fault.Invalid, "this storage cannot be restored from a snapshot while it is served")
	}
	return barrier.Fault(err, "the snapshot could not be restored")
}

// requireEmpty finishes an interrupted restore, and refuses a storage that is being migrated: a
// node that unsealed then would work on half of the data.
func (r restorer) requireEmpty(ctx context.Context) error {
	n := r.n
	_, err := n.cfg.Store.Get(ctx, snapshot.MigrationKey)
	switch {
	case err == nil:
		return fault.New(fault.Unavailable, "this storage is being migrated (entry %s); "+
			"finish `operator migrate`, or end it with -reset", snapshot.MigrationKey)
	case !errors.Is(err, storage.ErrNotFound):
		return storageFault(err, "the storage cannot be read")
	}
	st, err := snapshot.Pending(ctx, n.cfg.Store)
	if err != nil || st == nil {
		return barrier.Fault(err, "the storage cannot be read")
	}
	n.log.Warn("continuing an interrupted restore of a snapshot",
		"cluster", st.Meta.ClusterName, "taken", st.Meta.Created)
	return barrier.Fault(r.finish(ctx),
		"the interrupted restore of a snapshot could not be finished; it is tried again")
}

// finish finishes a restore as the leader, where the storage elects one: a single node does it.
func (r restorer) finish(ctx context.Context) error {
	n := r.n
	elector, ok := n.cfg.Store.(storage.Elector)
	if !ok {
		return snapshot.Finish(ctx, n.cfg.Store, 0)
	}
	leadership, err := elector.Campaign(ctx, []byte("{}"))
	if err != nil {
		return err
	}
	return errors.Join(snapshot.Finish(ctx, n.cfg.Store, leadership.Epoch()), leadership.Resign(ctx))
}

// rotate adds a term to a keyring from a snapshot: its keys were used after the snapshot was taken,
// so its counts of encryptions are too low.
func (r restorer) rotate(ctx context.Context, b *barrier.Barrier) error {
	n := r.n
	_, err := n.cfg.Store.Get(ctx, snapshot.RestoredKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	tx := b.Begin()
	tx.RotateKeyring()
	tx.DeleteRaw(snapshot.RestoredKey)
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	n.log.Info("rotated the barrier key, because the data came from a snapshot", "term", b.KeyStatus().Term)
	return nil
}

// loadVacant is load before an unseal or an initialisation.
func (n *Node) loadVacant(ctx context.Context) error {
	if err := (restorer{n}).requireEmpty(ctx); err != nil {
		return err
	}
	return n.load(ctx)
}

// logRecord logs how the sealed record of a restored snapshot differs from the configuration.
func (r restorer) logRecord(info *snapshot.Info) {
	for _, text := range r.n.recordWarnings(r.n.state.Load().record) {
		r.n.log.Warn("the sealed root key of the snapshot differs from the configuration", "cluster", info.ClusterName,
			"difference", text)
	}
}
