package node

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// attestation is what the store attests behind the barrier: digests of the records that decide who
// gets a key. An attacker who can write to the storage can replace a record outside the barrier,
// and put back an older entry behind it; he cannot make it match. Each digest is hexadecimal
// SHA-256 of attestDomain, the path, a zero byte and the stored bytes; "" where there is no record.
//
// It is part of core/cluster, which every open needs, so that it cannot be removed. The commit that
// changes one of the records changes it too.
type attestation struct {
	Record     string `json:"record"`     // of core/seal: generation, cluster, policy, members, share sets
	Recovery   string `json:"recovery"`   // of the recovery share set
	Transcript string `json:"transcript"` // of the transcript's head
	Revision   uint64 `json:"revision"`   // grows with every change

	// KeyFloor is the oldest term that was not destroyed; 0: none was. A keyring with an older one was
	// put back.
	KeyFloor uint32 `json:"key_floor,omitempty"`
}

const (
	attestDomain = "sealgate/node/attestation/v1\x00"
	// attestReads is how often a mismatch is read again: another node may have committed between two
	// reads.
	attestReads = 3
)

// errTampered is the alarm: a record is not the one that the store attests.
var errTampered = errors.New("changed outside this program")

var pathRecovery = pathShareSet + recovery.Recovery.String()

// integrity compares the storage with what the node attests and anchors.
type integrity struct{ n *Node }

func attestDigest(path string, record []byte) string {
	if record == nil {
		return ""
	}
	h := sha256.New()
	h.Write([]byte(attestDomain + path + "\x00"))
	h.Write(record)
	return hex.EncodeToString(h.Sum(nil))
}

func sameDigest(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// attestWritten returns the attestation after a transaction that writes some of the records.
func (a attestation) attestWritten(tx *barrier.Tx) (next attestation, changed bool) {
	for path, digest := range map[string]*string{
		keySealed: &a.Record, pathRecovery: &a.Recovery, ceremony.TranscriptHeadPath: &a.Transcript,
	} {
		if value, ok := tx.Written(path); ok {
			*digest, changed = attestDigest(path, value), true
		}
	}
	if changed {
		a.Revision++
	}
	return a, changed
}

// attest adds the attestation of what a transaction writes, and the break-glass record where it
// changes with that.
func (i integrity) attest(ctx context.Context, a *RoleState, tx *barrier.Tx) error {
	if err := (enrolment(i)).follow(ctx, a.barrier, tx); err != nil {
		return err
	}
	if _, changed := (attestation{}).attestWritten(tx); !changed {
		return nil
	}
	c, err := readCluster(ctx, a.barrier)
	if err == nil {
		err = i.fresh(a, c)
	}
	if err != nil {
		return err
	}
	if c.Attested == nil { // activating adds it to an old store; that has failed, and the next change must not
		return fmt.Errorf("node: entry %s has no attestation yet; it is added when the node unseals", pathCluster)
	}
	next, _ := c.Attested.attestWritten(tx)
	c.Attested = &next
	tx.Put(pathCluster, c.marshal())
	return nil
}

// fresh refuses an attestation that is older than one that this role has seen: the entry was put
// back to what it was.
func (i integrity) fresh(a *RoleState, c clusterRecord) error {
	if c.Attested == nil {
		return nil
	}
	for {
		seen := a.attested.Load()
		if c.Attested.Revision < seen {
			err := fmt.Errorf("node: the storage entry %s was %w: it has revision %d, and revision %d was there; find out "+
				"who can write to the storage, and restore a snapshot", pathCluster, errTampered, c.Attested.Revision, seen)
			i.alarm(err)
			return fault.Wrap(err, fault.Internal, "%v", err)
		}
		if c.Attested.Revision == seen || a.attested.CompareAndSwap(seen, c.Attested.Revision) {
			return nil
		}
	}
}

// transcriptHead returns the stored head of the transcript, nil where there is none, where it is
// the attested one.
func (i integrity) transcriptHead(ctx context.Context, a *RoleState) ([]byte, error) {
	var err error
	for range attestReads {
		var c clusterRecord
		if c, err = readCluster(ctx, a.barrier); err != nil {
			return nil, barrier.Fault(err, "the attestation of the transcript could not be read")
		}
		raw, readErr := a.barrier.Get(ctx, ceremony.TranscriptHeadPath)
		if readErr != nil && !errors.Is(readErr, storage.ErrNotFound) {
			return nil, barrier.Fault(readErr, "the head of the transcript could not be read")
		}
		if err := i.fresh(a, c); err != nil {
			return nil, err
		}
		if c.Attested == nil || sameDigest(c.Attested.Transcript, attestDigest(ceremony.TranscriptHeadPath, raw)) {
			return raw, nil
		}
		err = fmt.Errorf("node: the storage entry %s was %w: the transcript was cut off or exchanged; find out who can "+
			"write to the storage, and restore the entry from a backup", ceremony.TranscriptHeadPath, errTampered)
	}
	i.alarm(err)
	return nil, fault.Wrap(err, fault.Internal, "%v", err)
}

func readCluster(ctx context.Context, b *barrier.Barrier) (clusterRecord, error) {
	raw, err := b.Get(ctx, pathCluster)
	if err != nil {
		return clusterRecord{}, fmt.Errorf("reading %s: %w", pathCluster, err)
	}
	return unmarshalCluster(raw)
}

// readAttestation computes the attestation of the records that are stored.
func (i integrity) readAttestation(ctx context.Context, b *barrier.Barrier) (a attestation, err error) {
	n := i.n
	for path, get := range map[string]struct {
		digest *string
		get    func(context.Context, string) ([]byte, error)
	}{
		keySealed:                   {&a.Record, n.cfg.Store.Get},
		pathRecovery:                {&a.Recovery, b.Get},
		ceremony.TranscriptHeadPath: {&a.Transcript, b.Get},
	} {
		record, err := get.get(ctx, path)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return a, fmt.Errorf("reading %s: %w", path, err)
		}
		if err == nil && record == nil {
			record = []byte{}
		}
		*get.digest = attestDigest(path, record)
	}
	return a, nil
}

// differs names the first record that is not the attested one; "" where all are.
func (a attestation) differs(stored attestation) string {
	switch {
	case !sameDigest(a.Record, stored.Record):
		return keySealed
	case !sameDigest(a.Recovery, stored.Recovery):
		return pathRecovery
	case !sameDigest(a.Transcript, stored.Transcript):
		return ceremony.TranscriptHeadPath
	}
	return ""
}

// keepsFloor reports whether a barrier has no term that was destroyed.
func (a attestation) keepsFloor(b *barrier.Barrier) bool {
	oldest := b.OldestTerm()
	return oldest == 0 || oldest >= a.KeyFloor
}

// attestFloor adds to a transaction that the terms before one are destroyed. The caller holds
// transition.
func (i integrity) attestFloor(ctx context.Context, a *RoleState, tx *barrier.Tx, floor uint32) error {
	c, err := readCluster(ctx, a.barrier)
	if err == nil {
		err = i.fresh(a, c)
	}
	if err != nil {
		return err
	}
	if c.Attested == nil {
		return fmt.Errorf("node: entry %s has no attestation yet; it is added when the node unseals", pathCluster)
	}
	next := *c.Attested
	next.KeyFloor, next.Revision = max(next.KeyFloor, floor), next.Revision+1
	c.Attested = &next
	tx.Put(pathCluster, c.marshal())
	return nil
}

// attested reads what the store says of itself and compares the stored records with its
// attestation. It fails with errTampered where one differs.
func (i integrity) attested(ctx context.Context, b *barrier.Barrier) (c clusterRecord, err error) {
	n := i.n
	for range attestReads {
		if c, err = readCluster(ctx, b); err != nil || c.Attested == nil {
			return c, err
		}
		var stored attestation
		if stored, err = (integrity{n}).readAttestation(ctx, b); err != nil {
			return c, err
		}
		path := c.Attested.differs(stored)
		if path == "" && c.Attested.keepsFloor(b) {
			return c, nil
		}
		if path == "" { // or the keyring was read before terms of it were destroyed
			path = barrier.KeyringPath
			if err := b.Reload(ctx); err != nil {
				return c, err
			}
		}
		err = fmt.Errorf("node: the storage entry %s was %w; find out who can write to the storage, and restore the "+
			"entry from a backup", path, errTampered)
	}
	(integrity{n}).alarm(err)
	return c, fault.Wrap(err, fault.Internal, "%v", err)
}

// alarm reports that the storage was changed outside this program.
func (i integrity) alarm(err error) {
	n := i.n
	n.cfg.Metrics.Counter("core.attestation_mismatch").Inc()
	if last := n.tampered.Swap(&err); last == nil || (*last).Error() != err.Error() {
		n.log.Error("ALARM: "+err.Error(), "class", "corrupt")
	}
}

// upgradeAttestation adds the attestation to a store that an older program initialised. The caller
// may write.
func (i integrity) upgradeAttestation(ctx context.Context, b *barrier.Barrier) error {
	n := i.n
	c, err := readCluster(ctx, b)
	if err != nil || c.Attested != nil {
		return err
	}
	a, err := (integrity{n}).readAttestation(ctx, b)
	if err != nil {
		return err
	}
	a.Revision = 1
	c.Attested = &a
	tx := b.Begin()
	tx.Put(pathCluster, c.marshal())
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	n.log.Info("this store was initialised by an older program; it attests its sealed record from now on")
	return nil
}

// checkAttestation raises the alarm while the node serves, where a stored record is no longer the
// attested one, or the sealed record not the one that this node uses. The node continues with what
// it has in memory.
func (i integrity) checkAttestation(ctx context.Context) {
	asWriter(i.n, func(a *RoleState) { i.compareStored(ctx, a) })
}

func (i integrity) compareStored(ctx context.Context, a *RoleState) {
	n := i.n
	c, err := i.attested(ctx, a.barrier)
	if err == nil {
		err = i.fresh(a, c)
	}
	if err == nil && c.Attested != nil && !sameDigest(c.Attested.Record, n.state.Load().recordDigest) {
		err = fmt.Errorf("node: the storage entries %s and %s were %w; rotate the root key to write them again",
			keySealed, pathCluster, errTampered)
		i.alarm(err)
	}
	if err == nil {
		same, failed := a.barrier.KeyringIsStored(ctx)
		if failed != nil {
			return // the storage fails, which is reported elsewhere
		}
		if !same {
			err = fmt.Errorf("node: the storage entry %s was %w: it is not the keyring in use; do not restart this node: save "+
				"the data by the API, and find out who can write to the storage", barrier.KeyringPath, errTampered)
			i.alarm(err)
		}
	}
	if err == nil {
		n.tampered.Store(nil)
	}
}
