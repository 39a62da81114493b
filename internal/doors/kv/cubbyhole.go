package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/doors"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// cubbyhole gives each token a folder of its own, "<SHA-256 of the accessor>/", which behaves like version 1. No other token, root
// included, can name it; it goes with the token: see [doors.Table.ForgetToken].
type cubbyhole struct{ store doors.Storage }

// Cubbyhole is the [doors.Factory] of the type "cubbyhole".
func Cubbyhole(store doors.Storage, _ doors.Mount) (doors.Door, error) { return &cubbyhole{store}, nil }

// folderOf is not the accessor itself: keys are visible to whoever can read the storage, and accessors revoke tokens.
func folderOf(accessor string) string {
	sum := sha256.Sum256([]byte("sealgate/cubbyhole\x00" + accessor))
	return hex.EncodeToString(sum[:]) + "/"
}

func (c *cubbyhole) of(who auth.Identity) (*plain, error) {
	if who.Accessor == "" {
		return nil, fault.New(fault.Invalid, "cubbyhole operations are only supported by service tokens: a batch token has no place of its own")
	}
	return &plain{store: c.store, entries: folderOf(who.Accessor), now: time.Now}, nil
}

// Handle answers out of the token's own folder.
func (c *cubbyhole) Handle(ctx context.Context, r *doors.Request) (*doors.Response, error) {
	own, err := c.of(r.Identity)
	if err != nil {
		return nil, err
	}
	resp, err := own.Handle(ctx, r)
	if resp != nil {
		resp.LeaseDuration = 0
	}
	return resp, err
}

// ForgetToken removes a token's folder; it can be cut off, and called again.
func (c *cubbyhole) ForgetToken(ctx context.Context, accessor string) error {
	return c.remove(ctx, folderOf(accessor))
}

func (c *cubbyhole) remove(ctx context.Context, folder string) error {
	for {
		names, err := c.store.List(ctx, folder, "", doors.MaxOps)
		if err != nil || len(names) == 0 {
			return err
		}
		var b storage.Batch
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				b.Ops = append(b.Ops, storage.Delete(folder+name))
			} else if err := c.remove(ctx, folder+name); err != nil {
				return err
			}
		}
		if len(b.Ops) == 0 {
			continue
		}
		if err := c.store.Commit(ctx, b); err != nil {
			return err
		}
	}
}
