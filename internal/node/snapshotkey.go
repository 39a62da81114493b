package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/signkey"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// pathSnapshotKey is the key that signs snapshots, with the public halves of those before it:
//
//	version u8 = 1 | seed 32     see signkey
//	since i64                    Unix time from which it signs
//	count u16, count times:      the keys before it, oldest first
//	  public 32 | since i64 | until i64
//
// All numbers are big-endian.
const pathSnapshotKey = "core/snapshot/key"

// SnapshotKey is a public key that signs snapshots, or has signed them.
type SnapshotKey struct {
	Public []byte    `json:"public_key"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: it signs
}

// snapshotSigner signs the snapshots of a node.
type snapshotSigner struct{ n *Node }

func marshalSnapshotKey(head []byte, since time.Time, retired []SnapshotKey) ([]byte, error) {
	b := cryptobyte.NewBuilder(append(make([]byte, 0, len(head)+10+len(retired)*48), head...))
	b.AddUint64(uint64(since.Unix()))
	b.AddUint16(uint16(len(retired)))
	for _, k := range retired {
		b.AddBytes(k.Public)
		b.AddUint64(uint64(k.Since.Unix()))
		b.AddUint64(uint64(k.Until.Unix()))
	}
	return b.Bytes()
}

// unmarshalSnapshotKeys reads the addition to the entry of the key in use.
func unmarshalSnapshotKeys(addition []byte) (since time.Time, retired []SnapshotKey, err error) {
	s := cryptobyte.String(addition)
	malformed := fmt.Errorf("%w: %s", signkey.ErrEntry, pathSnapshotKey)
	readTime := func(t *time.Time) bool {
		var v uint64
		ok := s.ReadUint64(&v)
		*t = time.Unix(int64(v), 0).UTC()
		return ok
	}
	var count uint16
	if !readTime(&since) || !s.ReadUint16(&count) || len(s) != int(count)*(ed25519.PublicKeySize+16) {
		return since, nil, malformed
	}
	for range count {
		k := SnapshotKey{Public: make([]byte, ed25519.PublicKeySize)}
		if !s.CopyBytes(k.Public) || !readTime(&k.Since) || !readTime(&k.Until) {
			return since, nil, malformed
		}
		retired = append(retired, k)
	}
	return since, retired, nil
}

// newSnapshotKey returns the entry of a new key, which the caller wipes.
func newSnapshotKey(n *Node, retired []SnapshotKey) (entry []byte, public ed25519.PublicKey, err error) {
	head, public, err := signkey.New(n.cfg.Rand)
	if err != nil {
		return nil, nil, err
	}
	defer clear(head)
	entry, err = marshalSnapshotKey(head, n.cfg.Now(), retired)
	return entry, public, err
}

// ensure makes a key in a store that has none: an older program initialised it. The caller may
// write.
func (s snapshotSigner) ensure(ctx context.Context, b *barrier.Barrier) error {
	raw, err := b.Get(ctx, pathSnapshotKey)
	clear(raw)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	entry, public, err := newSnapshotKey(s.n, nil)
	if err != nil {
		return err
	}
	defer clear(entry)
	err = b.Commit(ctx, storage.Batch{If: []storage.Condition{storage.IfAbsent(pathSnapshotKey)},
		Ops: []storage.Op{storage.Put(pathSnapshotKey, entry)}})
	if err == nil {
		s.n.log.Info("made the key that signs snapshots", "public_key", base64.StdEncoding.EncodeToString(public))
	}
	return err
}

// keys returns the keys: the one in use first, then those before it, newest first.
func (snapshotSigner) keys(ctx context.Context, b *barrier.Barrier) (all []SnapshotKey, err error) {
	err = signkey.With(ctx, b, pathSnapshotKey, func(key ed25519.PrivateKey, addition []byte) error {
		all, err = snapshotKeys(key, addition)
		return err
	})
	return all, err
}

func snapshotKeys(key ed25519.PrivateKey, addition []byte) ([]SnapshotKey, error) {
	since, retired, err := unmarshalSnapshotKeys(addition)
	if err != nil {
		return nil, err
	}
	all := []SnapshotKey{{Public: signkey.Public(key), Since: since}}
	for i := range retired {
		all = append(all, retired[len(retired)-1-i])
	}
	return all, nil
}

// current returns the public key that signs, nil in a store that has none yet.
func (s snapshotSigner) current(ctx context.Context, b *barrier.Barrier) ([]byte, error) {
	all, err := s.keys(ctx, b)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, barrier.Fault(err, "the key that signs snapshots could not be read")
	}
	return all[0].Public, nil
}

// errKeyRotated is returned where the key was rotated while a snapshot was made.
var errKeyRotated = fault.New(fault.Unavailable, "the key that signs snapshots was rotated meanwhile; try again")

// proof proves the origin of a snapshot that names public as its signer.
func (s snapshotSigner) proof(ctx context.Context, b *barrier.Barrier, public []byte) snapshot.Proof {
	return snapshot.Proof{
		Seal: func(sums []byte) ([]byte, error) { return b.SealEntry(ctx, pathSums, sums) },
		Sign: func(sums, sealed []byte) (signature []byte, err error) {
			err = signkey.With(ctx, b, pathSnapshotKey, func(key ed25519.PrivateKey, _ []byte) error {
				if !bytes.Equal(key[ed25519.SeedSize:], public) {
					return errKeyRotated
				}
				signature = snapshot.Sign(key, sums, sealed)
				return nil
			})
			return signature, err
		},
	}
}

// archivedKeys is the store of a snapshot's key entry, opened.
type archivedKeys struct {
	open  func(path string, entry []byte) ([]byte, error)
	entry []byte
}

// Get implements signkey.Entries.
func (a archivedKeys) Get(_ context.Context, path string) ([]byte, error) {
	return a.open(path, a.entry)
}

// check refuses a signed snapshot whose signature is not by the key that it holds behind its own
// barrier, which open opens. The sealed checksums were checked before: one that an older program
// made has no signature, and is accepted with a warning.
func (s snapshotSigner) check(ctx context.Context, c *content, open func(string, []byte) ([]byte, error)) error {
	if !c.info.Signed() {
		s.n.log.Warn("the snapshot carries no signature; only its sealed checksums prove its origin",
			"cluster", c.info.ClusterName, "taken", c.info.Created)
	}
	return c.signedByItsKey(ctx, open)
}

// signedByItsKey refuses a signature by another key than the one behind the snapshot's barrier.
func (c *content) signedByItsKey(ctx context.Context, open func(string, []byte) ([]byte, error)) error {
	if !c.info.Signed() {
		return nil
	}
	if c.signer == nil {
		return fault.New(fault.Invalid, "nothing was changed: the snapshot is signed and holds no key that signs; use "+
			"another snapshot")
	}
	err := signkey.With(ctx, archivedKeys{open, c.signer}, pathSnapshotKey, func(key ed25519.PrivateKey, _ []byte) error {
		return c.info.CheckSigner(signkey.Public(key))
	})
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "nothing was changed: the signature of the snapshot is not by the key of its "+
			"cluster: %v; use another snapshot", err)
	}
	return nil
}

// SnapshotKeys returns the public keys of snapshots: the one that signs first.
func (s SealAdmin) SnapshotKeys(ctx context.Context) ([]SnapshotKey, error) {
	a, err := s.n.Role()
	if err != nil {
		return nil, err
	}
	all, err := snapshotSigner(s).keys(ctx, a.barrier)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "there is no key that signs snapshots yet; the active node makes it when it "+
			"unseals")
	}
	return all, barrier.Fault(err, "the key that signs snapshots could not be read")
}

// RotateSnapshotKey makes a new key that signs snapshots. The old public key stays known.
func (s SealAdmin) RotateSnapshotKey(ctx context.Context, by ceremony.Starter) ([]SnapshotKey, error) {
	n := s.n
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.writer()
	if a == nil {
		return nil, errBetweenRoles
	}
	signer := snapshotSigner(s)
	before, err := signer.keys(ctx, a.barrier)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, barrier.Fault(err, "the key that signs snapshots could not be read; nothing was changed")
	}
	var retired []SnapshotKey
	for i := range before {
		retired = append(retired, before[len(before)-1-i])
	}
	if len(retired) > 0 {
		retired[len(retired)-1].Until = n.cfg.Now().UTC().Truncate(time.Second)
	}
	if len(retired) > math.MaxUint8 {
		return nil, fault.New(fault.Invalid, "the key that signs snapshots was rotated %d times, as often as it can be",
			len(retired)-1)
	}
	entry, public, err := newSnapshotKey(n, retired)
	if err != nil {
		return nil, err
	}
	defer clear(entry)
	tx := a.barrier.Begin()
	tx.Put(pathSnapshotKey, entry)
	now := n.cfg.Now()
	err = ceremony.RecordChange(ctx, n.ceremonies, tx, transcript.Record{
		Purpose: "snapshot-key", Started: now, Finished: now, StartedBy: by.DisplayName, StartedAccessor: by.Accessor,
		Outcome: transcript.Completed, Reason: "snapshots are signed by " + base64.StdEncoding.EncodeToString(public),
	})
	if err == nil {
		err = (integrity(s)).attest(ctx, a, tx)
	}
	if err != nil {
		return nil, barrier.Fault(err, "the rotation could not be recorded; nothing was changed")
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, barrier.Fault(err, "the new key could not be written")
	}
	n.log.Info("rotated the key that signs snapshots", "public_key", base64.StdEncoding.EncodeToString(public))
	return signer.keys(ctx, a.barrier)
}
