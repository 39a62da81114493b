package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/seals"
)

var errRestoreBusy = fault.New(fault.Unavailable,
	"another initialisation or restore is in progress; wait until it has ended")

// RestoreEmpty fills the storage of a server that is not initialised with a snapshot: the way back
// from a lost storage. A client that may initialise the server may do it, so it needs no token.
//
// Under seals that unseal automatically the snapshot must open here, to its signed checksums; the
// server unseals then. Under a Shamir seal the unseal shares of the snapshot's time do that.
//
// An anchor does not learn that the data is older: an attacker who can empty the storage could
// roll it back by this. The node stays sealed until an operator accepts it.
func RestoreEmpty(ctx context.Context, n *Node, archive io.ReadSeeker) (*snapshot.Info, error) {
	if !n.sealed() {
		return nil, errInitialized
	}
	r := restorer{n}
	if !r.lock(ctx) {
		return nil, errRestoreBusy
	}
	defer n.transition.Unlock()
	if err := r.checkEmpty(ctx); err != nil {
		return nil, err
	}
	content, err := readContent(ctx, archive)
	if err != nil {
		return nil, err
	}
	if err := r.opensHere(ctx, content.record, content.keyring); err != nil {
		return nil, err
	}
	if err := r.genuine(ctx, content); err != nil {
		return nil, err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := r.fill(ctx, archive, content.info.Meta); err != nil {
		if errors.Is(err, errInitialized) {
			return nil, errInitialized
		}
		return nil, restoreFault(err)
	}
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	r.logRecord(content.info)
	n.log.Warn("a snapshot has filled the empty storage", "cluster", content.info.ClusterName,
		"taken", content.info.Created, "entries", content.info.Entries)
	n.poke()
	return content.info, nil
}

// lock takes transition. A node that is not initialised takes it for each reading of its
// state, which is short; what takes longer is an initialisation or a restore.
func (r restorer) lock(ctx context.Context) bool {
	n := r.n
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	for !n.transition.TryLock() {
		if !clock.Sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// checkEmpty refuses a server that has data. The caller holds transition.
func (r restorer) checkEmpty(ctx context.Context) error {
	n := r.n
	if !n.sealed() {
		return errInitialized
	}
	if err := n.loadVacant(ctx); err != nil {
		return err
	}
	if n.state.Load().record != nil {
		return errInitialized
	}
	names, err := n.cfg.Store.List(ctx, "", "", 1)
	if err != nil {
		return storageFault(err, "the storage cannot be read")
	}
	if len(names) > 0 {
		core, err := n.cfg.Store.List(ctx, "core/", "", 2)
		if err != nil {
			return storageFault(err, "the storage cannot be read")
		}
		if names[0] != "core/" || len(core) != 1 || core[0] != "restore/" { // remains of an attempt are overwritten
			return fault.New(fault.Invalid, "the storage is not initialised and not empty: it has entries, such as %s; "+
				"move them away, or use another folder, path or table", names[0])
		}
	}
	return nil
}

// content is a snapshot's description of itself.
type content struct {
	info            *snapshot.Info
	record          *seals.Record
	keyring, sealed []byte
	signer          []byte // entry of the key that signs snapshots, nil without one
}

// readContent reads and checks the whole archive.
func readContent(ctx context.Context, archive io.Reader) (*content, error) {
	return readContentWith(ctx, archive, func(string, []byte) {})
}

// readContentWith is readContent that passes each entry to visit, which must not keep the value.
func readContentWith(ctx context.Context, archive io.Reader, visit func(key string, value []byte)) (*content, error) {
	c := &content{}
	var err error
	c.info, err = snapshot.Read(ctx, archive, func(key string, value []byte) error {
		switch key {
		case keySealed:
			c.sealed = bytes.Clone(value)
		case barrier.KeyringPath:
			c.keyring = bytes.Clone(value)
		case pathSnapshotKey:
			c.signer = bytes.Clone(value)
		}
		visit(key, value)
		return nil
	})
	if err != nil {
		return nil, restoreFault(err)
	}
	if c.sealed == nil || c.keyring == nil {
		return nil, fault.New(fault.Invalid, "nothing was changed: the snapshot is of a server that was not initialised")
	}
	if c.record, err = seals.UnmarshalRecord(c.sealed); err != nil {
		return nil, fault.Wrap(err, fault.Invalid,
			"nothing was changed: the sealed root key in the snapshot cannot be read: %v", err)
	}
	return c, nil
}

// genuine checks that a server with the snapshot's keys has made it as it is. Under a Shamir seal
// nothing can check that before the shares are there.
func (r restorer) genuine(ctx context.Context, c *content) error {
	n := r.n
	set := n.seals.Load()
	if set.NeedsShares() {
		return nil
	}
	root, err := set.Unwrap(ctx, c.record, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: the seals of this server do not unwrap the root key in the snapshot")
	}
	defer root.Destroy()
	opened, err := barrier.OpenArchive(c.keyring, root, c.record.Generation)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "nothing was changed: the keyring in the snapshot does not open: %v", err)
	}
	defer opened.Close()
	sums, err := opened.Open(pathSums, c.info.Sealed)
	if err != nil || !bytes.Equal(sums, c.info.Sums) {
		return fault.Wrap(err, fault.Invalid, "nothing was changed: the snapshot was not made by the cluster %q whose keys "+
			"it holds (the sealed checksums do not match); use another snapshot", c.info.ClusterName)
	}
	return (snapshotSigner{n}).check(ctx, c, opened.Open)
}

// fill brings the snapshot into the storage, as the leader where the storage elects one.
func (r restorer) fill(ctx context.Context, archive io.Reader, meta snapshot.Meta) (err error) {
	n := r.n
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	epoch := uint64(0)
	if elector, ok := n.cfg.Store.(storage.Elector); ok {
		within, cancel := context.WithTimeout(ctx, electionTime)
		defer cancel()
		leadership, err := elector.Campaign(within, []byte("{}"))
		if err != nil {
			return err
		}
		epoch = leadership.Epoch()
		defer func() { err = errors.Join(err, leadership.Resign(ctx)) }()
	}
	pieces, err := snapshot.Stage(ctx, n.cfg.Store, epoch, archive)
	if err != nil {
		return err
	}
	failpoint.Point("restore.decide")
	state := snapshot.State{Pieces: pieces, Started: n.cfg.Now().UTC(), Meta: meta}
	// Another node of the storage may have initialised it while the snapshot was checked.
	if err := snapshot.Decide(ctx, n.cfg.Store, epoch, state, keySealed); err != nil {
		if errors.Is(err, storage.ErrConflict) {
			return errors.Join(errInitialized, snapshot.Clean(ctx, n.cfg.Store, epoch))
		}
		return err
	}
	return snapshot.Finish(context.WithoutCancel(ctx), n.cfg.Store, epoch)
}

// busyTime is how long a restore waits for a reading of the state.
const busyTime = 5 * time.Second

// electionTime bounds the wait for a leadership that nobody else should want.
const electionTime = 15 * time.Second
