package node

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/storage"
)

// Logins is the table of auth methods, whose paths lie below "auth/".
func (a *Active) Logins() *doors.Table { return a.logins }

// openLogins opens the table of auth methods, and makes it in a store that was initialised before there was one. When a method is disabled, the
// tokens that it gave out end with it, whatever happens in between.
func (n *Node) openLogins(ctx context.Context, b *barrier.Barrier, tokens *auth.Store) (*doors.Table, error) {
	o := doors.Options{
		Factories: n.cfg.Logins, Rand: n.cfg.Rand, Log: n.log, Now: n.cfg.Now, Logins: true,
		Gone: func(ctx context.Context, path string, at time.Time) error {
			return tokens.RevokePath(ctx, "auth/"+path, at)
		},
	}
	t, err := doors.Open(ctx, b, o)
	if !errors.Is(err, storage.ErrNotFound) {
		return t, err
	}
	ops, err := doors.FormatLogins(n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	if err := b.Commit(ctx, storage.Batch{Ops: ops}); err != nil {
		return nil, err
	}
	return doors.Open(ctx, b, o)
}
