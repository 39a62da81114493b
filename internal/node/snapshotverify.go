package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/seals"
)

// SnapshotCheck is the result of the verification of a snapshot.
type SnapshotCheck struct {
	*snapshot.Info
	Verified int    // entries that were decrypted
	Policy   string // of the snapshot's root key
	Ours     bool   // of this cluster
}

// VerifySnapshot proves that this server could restore a snapshot: its seals decrypt the root key
// in it, that opens the keyring, and the keyring every entry. It installs nothing. It reads the
// archive twice.
func (s SealAdmin) VerifySnapshot(ctx context.Context, archive io.ReadSeeker) (*SnapshotCheck, error) {
	a, err := s.n.Role()
	if err != nil {
		return nil, err
	}
	first := true
	return s.verify(ctx, a, func() (io.ReadCloser, error) {
		if first {
			first = false
			return io.NopCloser(archive), nil
		}
		_, err := archive.Seek(0, io.SeekStart)
		return io.NopCloser(archive), err
	})
}

// verify is VerifySnapshot of what open returns; both times it must be the same.
func (s SealAdmin) verify(ctx context.Context, a *RoleState, open func() (io.ReadCloser, error)) (*SnapshotCheck,
	error) {
	n := s.n
	archive, err := open()
	if err != nil {
		return nil, err
	}
	content, err := readContent(ctx, archive)
	if err := errors.Join(err, archive.Close()); err != nil {
		return nil, err
	}
	info, record := content.info, content.record
	root, err := s.rootOf(ctx, a, record)
	if err != nil {
		return nil, err
	}
	defer root.Destroy()
	opened, err := barrier.OpenArchive(content.keyring, root, record.Generation)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the snapshot could not be restored: its keyring does not open: %v", err)
	}
	defer opened.Close()
	c := &SnapshotCheck{
		Info: info, Policy: planOf(record).String(), Ours: record.Cluster == n.state.Load().record.Cluster,
	}
	if sums, err := opened.Open(pathSums, info.Sealed); err != nil || !bytes.Equal(sums, info.Sums) {
		return nil, fault.New(fault.Invalid, "the snapshot was changed after it was taken: its checksums were not made by "+
			"the server that it names")
	}
	if err := (snapshotSigner{n}).check(ctx, content, opened.Open); err != nil {
		return nil, err
	}
	if archive, err = open(); err != nil {
		return nil, err
	}
	again, err := snapshot.Read(ctx, archive, func(key string, value []byte) error {
		if outsideBarrier(key) {
			return nil
		}
		if err := opened.Check(key, value); err != nil {
			return fmt.Errorf("%w: the entry %q does not open", snapshot.ErrDamaged, key)
		}
		c.Verified++
		return nil
	})
	if err := errors.Join(err, archive.Close()); err != nil {
		return nil, verifyFault(err)
	}
	if !bytes.Equal(again.Sums, info.Sums) {
		return nil, fault.New(fault.Invalid, "the snapshot could not be verified: it changed between two reads")
	}
	return c, nil
}

func verifyFault(err error) error {
	return fault.Wrap(err, fault.Invalid, "the snapshot could not be restored: %v", err)
}

// outsideBarrier reports whether an entry is stored without the barrier.
func outsideBarrier(key string) bool {
	return slices.Contains([]string{keySealed, keyShareCounts, keyBreakGlass, barrier.KeyringPath, snapshot.StateKey,
		snapshot.RestoredKey, snapshot.MigrationKey}, key) || strings.HasPrefix(key, "core/root-handover/") ||
		strings.HasPrefix(key, "core/restore/")
}

// rootOf returns the root key of a snapshot from the seals; where those need shares, it is known
// for the generation in use alone.
func (s SealAdmin) rootOf(ctx context.Context, a *RoleState, record *seals.Record) (root *secret.Bytes, err error) {
	set, ours := s.n.seals.Load(), s.n.state.Load().record
	if !set.NeedsShares() {
		root, err = set.Unwrap(ctx, record, nil)
		if err != nil {
			return nil, sealFault(err, "the snapshot could not be restored: the seals of this server do not unwrap its root "+
				"key")
		}
		return root, nil
	}
	if record.Cluster != ours.Cluster || record.Generation != ours.Generation {
		return nil, fault.New(fault.Invalid, "the snapshot cannot be verified here: its root key opens with the unseal "+
			"shares of its time alone")
	}
	err = a.barrier.WithRoot(func(key *secret.Bytes) error {
		root = key.Clone()
		return nil
	})
	return root, err
}
