package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/signkey"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Resealer wraps the root key of snapshots by other seals, without a server. The root key, its
// generation and all data stay as they are.
type Resealer struct {
	From   *seals.Set      // opens the snapshot, with the shares where it needs them; unused in break-glass
	To     *seals.Set      // opens the result
	Shares []*secret.Bytes // of the snapshot's time: unseal shares, or recovery shares enrolled for break-glass
	Now    func() time.Time
	Rand   io.Reader
}

// openedSnapshot is a snapshot whose keys are known. Its entries are those that reseal needs.
type openedSnapshot struct {
	*content
	raw     map[string][]byte
	root    *secret.Bytes
	archive *barrier.Archive
	cluster clusterRecord
}

func (o *openedSnapshot) close() {
	o.archive.Close()
	o.root.Destroy()
}

// resealEntries are the entries that the attestation is about, or that hold a share set.
var resealEntries = []string{keySealed, pathCluster, pathRecovery, ceremony.TranscriptHeadPath,
	pathShareSet + recovery.Barrier.String(), keyShareCounts, keyBreakGlass}

// Reseal writes to out the snapshot in, sealed to other seals. It fails before it writes anything
// if the snapshot does not open, or if its records are not those that it attests. Check then proves
// the result.
func (r Resealer) Reseal(ctx context.Context, in io.ReadSeeker, out io.Writer) error {
	o, quorum, err := r.open(ctx, in, r.From, true)
	if err != nil {
		return err
	}
	defer o.close()
	if quorum != nil {
		defer quorum.Lock()
	}
	changes, err := r.changes(ctx, o)
	if err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	meta := o.info.Meta
	meta.Resealed = r.Now().UTC()
	source := &resealedStore{archive: in, changes: changes, sums: o.info.Sums}
	_, err = snapshot.Save(ctx, out, source, meta, snapshot.Proof{
		Seal: func(sums []byte) ([]byte, error) { return o.archive.Seal(pathSums, sums), nil },
		Sign: func(sums, sealed []byte) (signature []byte, err error) {
			err = signkey.With(ctx, archivedKeys{o.archive.Open, o.signer}, pathSnapshotKey,
				func(key ed25519.PrivateKey, _ []byte) error {
					signature = snapshot.Sign(key, sums, sealed)
					return nil
				})
			return signature, err
		},
	})
	return restoreFault(err)
}

// Check proves that a resealed snapshot opens by the new seals to its last entry.
func (r Resealer) Check(ctx context.Context, in io.ReadSeeker) (*snapshot.Info, error) {
	o, quorum, err := r.open(ctx, in, r.To, false)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if quorum != nil {
		defer quorum.Lock()
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return snapshot.Read(ctx, in, func(key string, value []byte) error {
		if outsideBarrier(key) {
			return nil
		}
		if err := o.archive.Check(key, value); err != nil {
			return fmt.Errorf("%w: the entry %q does not open", snapshot.ErrDamaged, key)
		}
		return nil
	})
}

// open reads a snapshot and opens it, and checks all that it says of itself. It opens by seals, or
// by shares alone where breakGlass allows that and no unseal shares belong to the snapshot.
func (r Resealer) open(ctx context.Context, in io.Reader, set *seals.Set, breakGlass bool) (o *openedSnapshot,
	quorum seals.Quorum, err error) {
	o = &openedSnapshot{content: &content{}, raw: map[string][]byte{}}
	o.content, err = readContentWith(ctx, in, func(key string, value []byte) {
		if slices.Contains(resealEntries, key) {
			o.raw[key] = bytes.Clone(value)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	var glass *recovery.BreakGlass
	if breakGlass && len(r.Shares) > 0 && len(o.record.ShareSet) == 0 {
		glass, o.root, err = r.breakGlass(o)
	} else {
		quorum, o.root, err = r.unwrap(ctx, o.record, set)
	}
	if err != nil {
		return nil, nil, err
	}
	done := false
	defer func() {
		if !done && quorum != nil {
			quorum.Lock()
		}
	}()
	if o.archive, err = barrier.OpenArchive(o.keyring, o.root, o.record.Generation); err != nil {
		o.root.Destroy()
		return nil, nil, fault.Wrap(err, fault.Invalid, "nothing was written: the keyring in the snapshot does not open: %v",
			err)
	}
	err = o.genuine(ctx)
	if err == nil && glass != nil {
		err = o.enrolled(glass)
	}
	if err != nil {
		o.close()
		return nil, nil, err
	}
	done = true
	return o, quorum, nil
}

// unwrap decrypts the root key by seals, with the shares where they need them.
func (r Resealer) unwrap(ctx context.Context, record *seals.Record, set *seals.Set) (quorum seals.Quorum,
	root *secret.Bytes, err error) {
	var shares wrapping.Wrapper
	if len(r.Shares) > 0 && set.Quorum() != nil {
		if quorum, shares, err = r.unlock(record, set.Quorum()); err != nil {
			return nil, nil, err
		}
	}
	if root, err = set.Unwrap(ctx, record, shares); err != nil {
		if quorum != nil {
			quorum.Lock()
		}
		return nil, nil, sealFault(err, "nothing was written: the seals do not unwrap the root key in the snapshot")
	}
	return quorum, root, nil
}

// breakGlass decrypts the root key by recovery shares. Their enrolment is proven by [enrolled] once
// the archive is open.
func (r Resealer) breakGlass(o *openedSnapshot) (*recovery.BreakGlass, *secret.Bytes, error) {
	raw, ok := o.raw[keyBreakGlass]
	if !ok {
		return nil, nil, fault.New(fault.Invalid, "nothing was written: shares do not open the snapshot: it is not sealed "+
			"to custodians, and no recovery shares were enrolled for break-glass; use a seal that opens it, without shares")
	}
	glass, shareSet, err := recovery.UnmarshalBreakGlass(raw)
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "nothing was written: the break-glass record in the snapshot cannot "+
			"be read: %v", err)
	}
	progress := newUnsealProgress(shareSet, nil, r.Rand)
	defer progress.reset()
	for _, share := range r.Shares {
		_, key, err := progress.give(share)
		if err != nil {
			return nil, nil, ceremony.ShareFault(err)
		}
		if key == nil {
			continue
		}
		defer key.Destroy()
		root, err := glass.Open(key)
		if err == nil {
			err = o.record.VerifyRoot(root)
		}
		if err != nil {
			root.Destroy()
			return nil, nil, fault.Wrap(err, fault.Invalid, "nothing was written: the entries %s and %s of the snapshot do not "+
				"belong together: the storage was changed before it was taken", keySealed, keyBreakGlass)
		}
		return glass, root, nil
	}
	return nil, nil, fault.New(fault.Invalid, "nothing was written: %d shares were given, and the snapshot needs %d of %d",
		len(r.Shares), shareSet.Threshold, shareSet.Shares)
}

// enrolled refuses shares that are not enrolled by what is behind the barrier.
func (o *openedSnapshot) enrolled(glass *recovery.BreakGlass) error {
	var shareSet *recovery.ShareSet
	plain, err := o.archive.Open(pathRecovery, o.raw[pathRecovery])
	if err == nil {
		defer clear(plain)
		shareSet, err = recovery.UnmarshalShareSet(plain)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "nothing was written: the entry %s of the snapshot cannot be read",
			pathRecovery)
	}
	defer shareSet.DestroyKeys()
	if !glass.Holds(o.record.Cluster, o.record.Generation, shareSet) {
		return fault.New(fault.Denied, "nothing was written: the quorum of these shares was not enrolled by the server when "+
			"the snapshot was taken: somebody replaced the entry %s", keyBreakGlass)
	}
	return nil
}

// unlock combines the shares to the key of the snapshot's custodians.
func (r Resealer) unlock(record *seals.Record, q seals.Quorum) (seals.Quorum, wrapping.Wrapper, error) {
	custodians, previous, err := readUnsealShareSets(record)
	if err != nil || custodians == nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "nothing was written: the snapshot is not sealed to custodians, so "+
			"that shares do not open it")
	}
	progress := newUnsealProgress(custodians, previous, r.Rand)
	defer progress.reset()
	for _, share := range r.Shares {
		shareSet, key, err := progress.give(share)
		if err != nil {
			return nil, nil, unsealFault(err)
		}
		if key == nil {
			continue
		}
		defer key.Destroy()
		w, err := q.For(shareSet.PublicKey)
		if err != nil {
			return nil, nil, err
		}
		unlocked := w.(seals.Quorum) //nolint:forcetypeassert // For returns the same provider
		return unlocked, w, unlocked.Unlock(key.Expose())
	}
	return nil, nil, fault.New(fault.Invalid, "nothing was written: %d shares were given, and the snapshot needs %d of %d",
		len(r.Shares), custodians.Threshold, custodians.Shares)
}

// genuine checks the sealed checksums, the signature, and the records that the snapshot attests.
func (o *openedSnapshot) genuine(ctx context.Context) error {
	sums, err := o.archive.Open(pathSums, o.info.Sealed)
	if err != nil || !bytes.Equal(sums, o.info.Sums) {
		return fault.New(fault.Invalid, "nothing was written: the snapshot was changed after it was taken: its checksums "+
			"were not made by the server that it names")
	}
	if err := o.signedByItsKey(ctx, o.archive.Open); err != nil {
		return err
	}
	raw, err := o.archive.Open(pathCluster, o.raw[pathCluster])
	if err == nil {
		o.cluster, err = unmarshalCluster(raw)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "nothing was written: the entry %s of the snapshot cannot be read", pathCluster)
	}
	if o.cluster.Attested == nil {
		return nil
	}
	stored := attestation{Record: attestDigest(keySealed, o.raw[keySealed])}
	for path, digest := range map[string]*string{
		pathRecovery: &stored.Recovery, ceremony.TranscriptHeadPath: &stored.Transcript,
	} {
		entry, ok := o.raw[path]
		if !ok {
			continue
		}
		plain, err := o.archive.Open(path, entry)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "nothing was written: the entry %s of the snapshot does not open", path)
		}
		*digest = attestDigest(path, plain)
		clear(plain)
	}
	if path := o.cluster.Attested.differs(stored); path != "" {
		return fault.New(fault.Invalid, "nothing was written: the entry %s of the snapshot is not the one that it attests: "+
			"the storage was changed before the snapshot was taken", path)
	}
	return nil
}

// changes returns the entries of the result that differ; nil for one that is not there.
func (r Resealer) changes(ctx context.Context, o *openedSnapshot) (map[string][]byte, error) {
	changes := map[string][]byte{}
	custodians, err := r.custodians(o, changes)
	if err != nil {
		return nil, err
	}
	if custodians != nil {
		defer custodians.RecordKey.Destroy()
	}
	record, err := r.To.Wrap(ctx, o.record.Cluster, o.record.Generation, o.root, custodians, nil)
	if err != nil {
		return nil, sealFault(err, "nothing was written: a seal cannot wrap the root key")
	}
	if changes[keySealed], err = record.Marshal(); err != nil {
		return nil, err
	}
	if o.cluster.Attested == nil {
		return changes, nil
	}
	next := *o.cluster.Attested
	next.Record, next.Revision = attestDigest(keySealed, changes[keySealed]), next.Revision+1
	if entry, ok := changes[pathRecovery]; ok {
		plain, err := o.archive.Open(pathRecovery, entry)
		if err != nil {
			return nil, err
		}
		next.Recovery = attestDigest(pathRecovery, plain)
		clear(plain)
	}
	o.cluster.Attested = &next
	changes[pathCluster], err = o.archive.Reseal(pathCluster, o.raw[pathCluster], o.cluster.marshal())
	return changes, err
}

// custodians returns the quorum that the result is sealed to, nil without one. Where custodians
// opened the snapshot and do not open the result, their shares become recovery shares and stay
// valid, as in a seal migration.
func (r Resealer) custodians(o *openedSnapshot, changes map[string][]byte) (*seals.Custodians, error) {
	if len(o.record.ShareSet) == 0 {
		if r.To.Quorum() != nil {
			return nil, fault.New(fault.Invalid, "nothing was written: the snapshot has no unseal custodians, so that it "+
				"cannot be sealed to them; seal it to a device or service, restore it, and migrate its seals")
		}
		return nil, nil
	}
	path := pathShareSet + recovery.Barrier.String()
	plain, err := o.archive.Open(path, o.raw[path])
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "nothing was written: the entry %s of the snapshot does not open", path)
	}
	defer clear(plain)
	shareSet, err := recovery.UnmarshalShareSet(plain)
	if err != nil {
		return nil, err
	}
	defer shareSet.DestroyKeys()
	if !bytes.Equal(shareSet.Public().Marshal(), o.record.ShareSet) {
		return nil, fault.Wrap(errShareSet, fault.Invalid, "nothing was written: %v", errShareSet)
	}
	if r.To.Quorum() != nil {
		c := unsealShareSet(shareSet)
		c.RecordKey = shareSet.RecordKey.Clone()
		return c, nil
	}
	next := shareSet.ForRecovery()
	stored := next.Marshal()
	defer clear(stored)
	changes[pathRecovery] = o.archive.Seal(pathRecovery, stored)
	changes[path] = nil
	changes[keyShareCounts] = shareCounts{next.Shares, next.Threshold}.marshal()
	return nil, nil
}

// resealedStore is a snapshot with changes, as a store to save.
type resealedStore struct {
	archive io.Reader
	changes map[string][]byte
	sums    []byte // of the archive when it was checked
}

// Snapshot implements storage.Snapshotter.
func (s *resealedStore) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	left := slices.Sorted(maps.Keys(s.changes))
	upTo := func(key string, all bool) error {
		for len(left) > 0 && (all || left[0] <= key) {
			if value := s.changes[left[0]]; value != nil {
				if err := visit(left[0], value); err != nil {
					return err
				}
			}
			left = left[1:]
		}
		return nil
	}
	info, err := snapshot.Read(ctx, s.archive, func(key string, value []byte) error {
		if err := upTo(key, false); err != nil {
			return err
		}
		if _, changed := s.changes[key]; changed {
			return nil
		}
		return visit(key, value)
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(info.Sums, s.sums) {
		return fmt.Errorf("%w: it changed between two reads", snapshot.ErrDamaged)
	}
	return upTo("", true)
}

// Get implements storage.Store. Nothing is read from it but its snapshot.
func (*resealedStore) Get(context.Context, string) ([]byte, error) { return nil, storage.ErrNotFound }

// List implements storage.Store.
func (*resealedStore) List(context.Context, string, string, int) ([]string, error) { return nil, nil }

// Commit implements storage.Store.
func (*resealedStore) Commit(context.Context, storage.Batch) error { return storage.ErrClosed }

// Close implements storage.Store.
func (*resealedStore) Close() error { return nil }
