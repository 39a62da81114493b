package node

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
)

// Rotate adds a term to the keyring. Entries of older terms stay readable; it needs no shares and
// no seal.
func (n *Node) Rotate(ctx context.Context) error {
	a, err := n.Role()
	if err != nil {
		return err
	}
	failpoint.Point("rotate.commit")
	term, err := a.barrier.Rotate(ctx)
	if err != nil {
		return barrier.Fault(err, "the barrier key could not be rotated; the old one stays in use")
	}
	n.log.Info("rotated the barrier key", "term", term)
	return nil
}

// RotateRoot replaces the root key without shares: the seals wrap the new one, and the keyring is
// re-encrypted under it, in one commit.
func (n *Node) RotateRoot(ctx context.Context) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return err
	}
	if err := (ceremonyHost{n}).RenewRoot(ctx, a.barrier.Begin(), nil, false); err != nil {
		return err
	}
	n.log.Info("rotated the root key", "generation", a.barrier.RootGeneration())
	return nil
}

// KeyStatus returns the newest term, its age and its number of encryptions.
func (n *Node) KeyStatus() (barrier.KeyStatus, error) {
	a, err := n.Role()
	if err != nil {
		return barrier.KeyStatus{}, err
	}
	return a.barrier.KeyStatus(), nil
}

// RotationConfig returns when the barrier key is rotated automatically.
func (n *Node) RotationConfig(ctx context.Context) (barrier.RotationConfig, error) {
	a, err := n.Role()
	if err != nil {
		return barrier.RotationConfig{}, err
	}
	c, err := a.barrier.RotationConfig(ctx)
	return c, barrier.Fault(err, "the rotation configuration could not be read")
}

// SetRotationConfig changes when the barrier key is rotated automatically.
func (n *Node) SetRotationConfig(ctx context.Context, c barrier.RotationConfig) error {
	a, err := n.Role()
	if err != nil {
		return err
	}
	err = a.barrier.SetRotationConfig(ctx, c)
	if errors.Is(err, barrier.ErrInterval) || errors.Is(err, barrier.ErrMaxOperations) ||
		errors.Is(err, barrier.ErrMaxBytes) {
		return fault.New(fault.Invalid, "%v", err)
	}
	if err != nil {
		return barrier.Fault(err, "the rotation configuration could not be written")
	}
	n.poke()
	return nil
}
