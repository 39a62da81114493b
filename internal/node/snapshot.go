package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/seals"
)

// pathSums is the name under which the checksums of a snapshot are sealed; nothing is stored there.
const pathSums = "core/snapshot-sums"

// restoreTime bounds the exchange of the data by a snapshot that was decided on. What is left then is finished by the next attempt to unseal.
const restoreTime = 30 * time.Minute

// Snapshot writes all that the storage holds to w, as of one moment and as encrypted as it lies there.
func (n *Node) Snapshot(ctx context.Context, w io.Writer) (snapshot.Totals, error) {
	a, err := n.Role()
	if err != nil {
		return snapshot.Totals{}, err
	}
	f := n.state.Load()
	meta := snapshot.Meta{Created: n.cfg.Now().UTC(), ClusterID: f.record.Cluster, ClusterName: f.clusterName,
		Storage: n.cfg.StorageType, Program: "Sealgate"}
	totals, err := snapshot.Save(ctx, w, n.cfg.Store, meta, func(sums []byte) ([]byte, error) {
		return a.barrier.SealEntry(ctx, pathSums, sums)
	})
	if errors.Is(err, snapshot.ErrUnsupported) {
		return totals, fault.Wrap(err, fault.Invalid, "the storage %q cannot make a consistent copy of itself", n.cfg.StorageType)
	}
	return totals, barrier.Fault(err, "the snapshot could not be made")
}

// Restore replaces all that the storage holds by a snapshot. The archive is read three times: first to check it, so that what is damaged, is another
// cluster's (unless forced), or could not be unsealed here changes nothing; then to bring it into the storage beside the data in use. One commit decides.
// What is left to do behind it is done by whoever unseals next, if this node does not live to do it.
func (n *Node) Restore(ctx context.Context, archive io.ReadSeeker, force bool) (*snapshot.Info, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	info, err := n.restorable(ctx, a, archive, force)
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
	epoch := a.barrier.Epoch()
	failpoint.Point("restore.decide")
	if err := snapshot.Decide(ctx, n.cfg.Store, epoch, snapshot.State{Pieces: pieces, Started: n.cfg.Now().UTC(), Meta: info.Meta}); err != nil {
		return nil, restoreFault(err)
	}
	n.log.Warn("the data is being replaced by a snapshot", "cluster", info.ClusterName, "taken", info.Created, "entries", info.Entries)
	// From here on it is done, whether or not the client still waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	if err := n.outOfService(ctx, a); err != nil {
		n.log.Debug("the encryption counts of the data that is replaced could not be written", "error", err)
	}
	if err := snapshot.Finish(ctx, n.cfg.Store, epoch); err != nil {
		n.requestStepDown()
		n.poke()
		return nil, restoreFault(err)
	}
	n.requestStepDown()
	n.forgetShares()
	n.change(func(f *nodeState) { f.shareSet, f.previous, f.clusterName = nil, nil, "" })
	n.log.Warn("the data was replaced by a snapshot", "cluster", info.ClusterName, "taken", info.Created, "entries", info.Entries)
	if err := n.unsealBySeals(ctx); err != nil {
		n.poke() // Run goes on trying, and tells why it cannot
	}
	return info, nil
}

// restorable reads the whole archive and judges whether this server can, and should, become what is in it.
func (n *Node) restorable(ctx context.Context, a *RoleState, archive io.Reader, force bool) (*snapshot.Info, error) {
	var sealed, keyring []byte
	info, err := snapshot.Read(ctx, archive, func(key string, value []byte) error {
		switch key {
		case keySealed:
			sealed = bytes.Clone(value)
		case barrier.KeyringPath:
			keyring = bytes.Clone(value)
		}
		return nil
	})
	if err != nil {
		return nil, restoreFault(err)
	}
	if sealed == nil || keyring == nil {
		return nil, fault.New(fault.Invalid, "nothing was changed: the snapshot is of a server that was not initialised")
	}
	record, err := seals.UnmarshalRecord(sealed)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "nothing was changed: the sealed root key in the snapshot cannot be read: %v", err)
	}
	ours := record.Cluster == n.state.Load().record.Cluster
	if ours {
		sums, err := a.barrier.OpenEntry(pathSums, info.Sealed)
		ours = err == nil && bytes.Equal(sums, info.Sums)
	}
	if !ours && !force {
		return nil, fault.New(fault.Invalid, "could not verify hash file, possibly the snapshot is using a different set of unseal keys; nothing was changed: "+
			"it is of the cluster %q (%s), taken %s; use the snapshot-force API (-force) to replace this cluster by it",
			info.ClusterName, record.Cluster, info.Created.Format(time.RFC3339))
	}
	return info, n.opensHere(ctx, record, keyring)
}

// opensHere refuses a snapshot that this server could never unseal. Where people unseal nobody can tell before they come.
func (n *Node) opensHere(ctx context.Context, record *seals.Record, keyring []byte) error {
	set := n.seals.Load()
	if set.NeedsShares() {
		if len(record.ShareSet) == 0 {
			return fault.New(fault.Invalid, "nothing was changed: the snapshot is of a server that unseals by itself, and this one asks people for their shares; "+
				"configure the seals that it was made with")
		}
		return nil
	}
	root, err := set.Unwrap(ctx, record, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: the seals of this server do not open the root key in the snapshot")
	}
	defer root.Destroy()
	if err := barrier.Opens(keyring, root, record.Generation); err != nil {
		return fault.Wrap(err, fault.Invalid, "nothing was changed: the keyring in the snapshot does not open with its root key: %v", err)
	}
	return nil
}

func restoreFault(err error) error {
	switch {
	case errors.Is(err, snapshot.ErrDamaged), errors.Is(err, snapshot.ErrForeign):
		return fault.Wrap(err, fault.Invalid, "nothing was changed: %v; save a new one, or take another", err)
	case errors.Is(err, snapshot.ErrUnderWay):
		return fault.Wrap(err, fault.Unavailable, "another restore is under way; wait until it has ended")
	case errors.Is(err, snapshot.ErrUnsupported):
		return fault.Wrap(err, fault.Invalid, "this storage cannot be restored from a snapshot while it is served")
	}
	return barrier.Fault(err, "the snapshot could not be restored")
}

// vacant finishes a restore that somebody left unfinished, and refuses a storage that is being copied to another: whoever unsealed
// from either would work on half of the data.
func (n *Node) vacant(ctx context.Context) error {
	_, err := n.cfg.Store.Get(ctx, snapshot.MigrationKey)
	switch {
	case err == nil:
		return fault.New(fault.Unavailable, "this storage is being migrated (entry %s); finish `operator migrate`, or end it with -reset", snapshot.MigrationKey)
	case !errors.Is(err, storage.ErrNotFound):
		return fault.Wrap(err, fault.Unavailable, "storage cannot be read: %v", err)
	}
	st, err := snapshot.Pending(ctx, n.cfg.Store)
	if err != nil || st == nil {
		return barrier.Fault(err, "storage cannot be read")
	}
	n.log.Warn("going on with the restore of a snapshot that was interrupted", "cluster", st.Meta.ClusterName, "taken", st.Meta.Created)
	return barrier.Fault(n.finishRestore(ctx), "the restore of a snapshot that was interrupted could not be finished; it is tried again")
}

// finishRestore does so in office, where there is one: of several nodes one does it.
func (n *Node) finishRestore(ctx context.Context) error {
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

// rotateRestored adds a term to a keyring that came out of a snapshot: its keys were used after the snapshot was taken, and what
// it counts as encrypted by them is less than the truth.
func (n *Node) rotateRestored(ctx context.Context, b *barrier.Barrier) error {
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
	n.log.Info("rotated the barrier key, since the data came from a snapshot", "term", b.KeyStatus().Term)
	return nil
}

// loadVacant is load for who is about to unseal or initialise.
func (n *Node) loadVacant(ctx context.Context) error {
	if err := n.vacant(ctx); err != nil {
		return err
	}
	return n.load(ctx)
}
