package node

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// AuthMethods is the table of auth methods, whose paths lie below "auth/".
func (a *RoleState) AuthMethods() *mount.Table { return a.authMethods }

// openAuthMethods opens the table of auth methods, and makes it in a store that was initialised before there was one. When a method is disabled, the
// tokens that it gave out end with it, whatever happens in between.
func (n *Node) openAuthMethods(ctx context.Context, b *barrier.Barrier, tokens *token.Store) (*mount.Table, error) {
	o := mount.Options{
		Factories: n.cfg.AuthMethods, Rand: n.cfg.Rand, Log: n.log, Now: n.cfg.Now, AuthMethods: true,
		Gone: func(ctx context.Context, path string, at time.Time) error {
			return tokens.RevokePath(ctx, "auth/"+path, at)
		},
	}
	t, err := mount.Open(ctx, b, o)
	if !errors.Is(err, storage.ErrNotFound) {
		return t, err
	}
	ops, err := mount.FormatAuth(n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	if err := b.Commit(ctx, storage.Batch{Ops: ops}); err != nil {
		return nil, err
	}
	return mount.Open(ctx, b, o)
}
