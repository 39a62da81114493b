// Package cubbyhole is the secrets engine that gives each service token a private folder.
//
// No other token, root included, can read or name the folder, and it is removed with its token.
// Inside the folder the engine behaves like key-value version 1 without leases.
package cubbyhole

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// engine keeps one folder per token, named "<SHA-256 of the accessor>/".
type engine struct{ store mount.Storage }

// New is the [mount.Factory] of the type "cubbyhole".
func New(store mount.Storage, _ mount.Entry) (mount.Backend, error) { return &engine{store}, nil }

// folderOf hashes the accessor, because storage readers see the keys, and an accessor is enough to
// revoke its token.
func folderOf(accessor string) string {
	sum := sha256.Sum256([]byte("sealgate/cubbyhole\x00" + accessor))
	return hex.EncodeToString(sum[:]) + "/"
}

func (e *engine) folder(who token.Identity) (mount.Backend, error) {
	if who.Accessor == "" {
		return nil, fault.New(fault.Invalid, "cubbyhole operations are only supported by service tokens: a batch token has "+
			"no cubbyhole")
	}
	return kv.NewFolder(e.store, folderOf(who.Accessor)), nil
}

// Handle answers from the token's own folder.
func (e *engine) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	own, err := e.folder(r.Identity)
	if err != nil {
		return nil, err
	}
	resp, err := own.Handle(ctx, r)
	if resp != nil {
		resp.LeaseDuration = 0
	}
	return resp, err
}

// RemoveTokenData removes a token's folder. It can be interrupted and called again.
func (e *engine) RemoveTokenData(ctx context.Context, accessor string) error {
	return e.remove(ctx, folderOf(accessor))
}

func (e *engine) remove(ctx context.Context, folder string) error {
	for {
		names, err := e.store.List(ctx, folder, "", mount.MaxOps)
		if err != nil || len(names) == 0 {
			return err
		}
		var b storage.Batch
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				b.Ops = append(b.Ops, storage.Delete(folder+name))
			} else if err := e.remove(ctx, folder+name); err != nil {
				return err
			}
		}
		if len(b.Ops) == 0 {
			continue
		}
		if err := e.store.Commit(ctx, b); err != nil {
			return err
		}
	}
}
