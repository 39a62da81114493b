package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/anchor"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// Anchor keeps what the node last saw of its storage, where a storage writer cannot change it.
type Anchor interface {
	Load() (*anchor.State, error) // nil: there is none yet
	Save(*anchor.State) error
}

const anchorKeyDomain = "sealgate/node/anchor-key/v1\x00"

// checkPin refuses a storage of another cluster than the configured one.
func (i integrity) checkPin() error {
	n := i.n
	record := n.state.Load().record
	if n.cfg.ClusterID == "" || record == nil || record.Cluster == n.cfg.ClusterID {
		return nil
	}
	return fault.New(fault.Invalid, "the storage is of the cluster %s, and cluster_id in the configuration names %s; "+
		"nothing was opened: correct the storage or the configuration", record.Cluster, n.cfg.ClusterID)
}

// anchorState returns what the node sees of its storage now, without a MAC.
func (i integrity) anchorState(ctx context.Context, b *barrier.Barrier) (*anchor.State, error) {
	n := i.n
	c, err := readCluster(ctx, b)
	if err != nil {
		return nil, err
	}
	s := &anchor.State{Cluster: n.state.Load().record.Cluster, Generation: b.RootGeneration(), Audit: []string{}}
	if c.Attested != nil {
		raw, err := json.Marshal(c.Attested)
		if err != nil {
			return nil, err
		}
		s.Revision, s.Digest = c.Attested.Revision, attestDigest(pathCluster, raw)
	}
	if n.cfg.LastCommit != nil {
		if s.Sequence, err = n.cfg.LastCommit(ctx); err != nil {
			return nil, err
		}
	}
	if n.cfg.Trail != nil {
		for _, d := range n.cfg.Trail.List() {
			if !d.Declared { // those of the configuration are not in the storage
				s.Audit = append(s.Audit, d.Path)
			}
		}
		slices.Sort(s.Audit)
	}
	return s, nil
}

// anchorKey derives the key of the anchor's MAC from the root key.
func anchorKey(b *barrier.Barrier) (key []byte, err error) {
	err = b.WithRoot(func(root *secret.Bytes) error {
		h := hmac.New(sha256.New, root.Expose())
		h.Write([]byte(anchorKeyDomain))
		key = h.Sum(nil)
		return nil
	})
	return key, err
}

// checkAnchor refuses a storage that is older than the anchor, or another one. A storage that is
// newer is expected: the anchor is written after the commits that it reports.
func (i integrity) checkAnchor(ctx context.Context, b *barrier.Barrier) error {
	n := i.n
	if n.cfg.Anchor == nil {
		return nil
	}
	now, err := (integrity{n}).anchorState(ctx, b)
	if err != nil {
		return err
	}
	last, err := n.cfg.Anchor.Load()
	if err != nil {
		err = fmt.Errorf("the anchor cannot be read: %w", err)
	} else if last != nil {
		err = (integrity{n}).compareAnchor(b, last, now)
	}
	accept := fmt.Sprintf("%s:%d", now.Cluster, now.Generation)
	switch {
	case err == nil:
	case n.cfg.AcceptRollback == accept || n.restored.Load():
		n.log.Warn("the storage differs from the anchor and is accepted, as asked for", "cause", err, "accepted", accept)
	default:
		err = fmt.Errorf("node: %w; nothing is served. Restore the newest storage, or, if this one is meant, start the "+
			"server once with -accept-rollback=%s", err, accept)
		(integrity{n}).alarm(err)
		return fault.Wrap(err, fault.Internal, "%v", err)
	}
	return (integrity{n}).saveAnchor(ctx, b)
}

func (i integrity) compareAnchor(b *barrier.Barrier, last, now *anchor.State) error {
	switch {
	case last.Cluster != now.Cluster:
		return fmt.Errorf("the storage is of the cluster %s, and the anchor of %s", now.Cluster, last.Cluster)
	case now.Generation < last.Generation:
		return fmt.Errorf("the storage was rolled back: its root key is of generation %d, and generation %d was in use",
			now.Generation, last.Generation)
	case now.Revision < last.Revision:
		return fmt.Errorf("the storage was rolled back: its attestation has revision %d, and revision %d was in use",
			now.Revision, last.Revision)
	case now.Revision == last.Revision && now.Digest != last.Digest:
		return fmt.Errorf("the storage is another one than the anchor's: revision %d of the attestation differs",
			now.Revision)
	case now.Sequence < last.Sequence:
		return fmt.Errorf("the storage was rolled back: its last commit has number %d, and number %d was seen",
			now.Sequence, last.Sequence)
	}
	for _, device := range last.Audit {
		if !slices.Contains(now.Audit, device) {
			return fmt.Errorf("the audit device %q was removed while the server did not run (audit devices now: %s)",
				device, strings.Join(now.Audit, ", "))
		}
	}
	if now.Generation > last.Generation {
		return nil // the key of its MAC is gone
	}
	key, err := anchorKey(b)
	if err != nil {
		return err
	}
	defer clear(key)
	if !last.Verify(key) {
		return fmt.Errorf("the anchor was not written by this cluster: its authentication code is wrong")
	}
	return nil
}

// saveAnchor writes what the node sees of its storage.
func (i integrity) saveAnchor(ctx context.Context, b *barrier.Barrier) error {
	n := i.n
	if n.cfg.Anchor == nil {
		return nil
	}
	s, err := (integrity{n}).anchorState(ctx, b)
	if err != nil {
		return err
	}
	key, err := anchorKey(b)
	if err != nil {
		return err
	}
	defer clear(key)
	if err := s.Seal(key); err != nil {
		return err
	}
	if err := n.cfg.Anchor.Save(s); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the anchor cannot be written: %v; correct its path or make room", err)
	}
	n.restored.Store(false)
	return nil
}

// refreshAnchor writes the anchor where that can wait: a later roll-back is measured against it.
func (i integrity) refreshAnchor(ctx context.Context) {
	n := i.n
	a := n.role.Load()
	if a == nil {
		return
	}
	if err := (integrity{n}).saveAnchor(ctx, a.barrier); err != nil && ctx.Err() == nil {
		n.log.Warn("the anchor could not be written; it is tried again", "error", err)
	}
}
