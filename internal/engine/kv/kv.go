// Package kv keeps secrets under paths: Vault's key-value engine, versions 1 and 2.
//
// It guarantees, of both versions, that a read gives the value of the last write that was acknowledged, with numbers as they were written
// and the keys in sorted order, and that a read costs no decoding of the value. Of version 2 it guarantees besides that each change
// of a secret, its data and its metadata together, is one commit; that changes of one secret come one after the other, so that of
// two writers with the same check-and-set number one is refused; that a read of the current version costs one read of the barrier
// where the value has at most 4 KiB, and two where it is larger; that a version that was destroyed, or pushed out by newer ones, can
// never be read again; and that a mount serves all of its secrets while it is upgraded from version 1.
//
// It does not guarantee check-and-set between two nodes that both hold themselves for the leader: the fence of the storage does. What
// does not fit into one commit (destroying hundreds of versions at once) is decided in one, and removed from storage in more.
//
// Stays compatible: the records, whose first byte is their version, and where they lie: "v1/" before the path of a version 1
// entry; "m/" before that of a version 2 secret, "d/<id>/<number>" for values outside of it, "g/" for what is still to be
// removed, "config", and "upgrade" while one is under way.
package kv

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// Options are what backends are given from outside.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// New is the [mount.Factory] of the type "kv".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "kv" with a clock and randomness of one's own.
func Factory(o Options) mount.Factory {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	return func(store mount.Storage, m mount.Entry) (mount.Backend, error) {
		version, err := versionOf(m)
		if err != nil {
			return nil, err
		}
		if version == 2 {
			return newVersioned(store, o), nil
		}
		lease, _ := m.Config.Effective()
		return &plain{store: store, entries: entries, lease: int(lease), now: o.Now}, nil
	}
}

// NewFolder returns a version 1 engine whose entries lie below a prefix of the store, without leases of its
// own. The cubbyhole is made of these.
func NewFolder(store mount.Storage, prefix string) mount.Backend {
	return &plain{store: store, entries: prefix, now: time.Now}
}

func versionOf(m mount.Entry) (int, error) {
	switch v := m.Options["version"]; v {
	case "", "1":
		return 1, nil
	case "2":
		return 2, nil
	default:
		return 0, fault.New(fault.Invalid, `options.version of a kv mount is %q; it can be "1" or "2"`, v)
	}
}

// Tune lets a mount become version 2: the mark that tells the new backend to look for entries of version 1 is written in the same commit.
func (d *plain) Tune(_ context.Context, to mount.Entry) ([]storage.Op, error) {
	version, err := versionOf(to)
	if err != nil || version == 1 {
		return nil, err
	}
	return []storage.Op{storage.Put(upgradeKey, upgrade{started: d.now().UnixNano()}.marshal())}, nil
}

// Tune refuses the way back: there is no place in version 1 for what version 2 keeps.
func (d *versioned) Tune(_ context.Context, to mount.Entry) ([]storage.Op, error) {
	version, err := versionOf(to)
	if err == nil && version == 1 {
		err = fault.New(fault.Invalid, "cannot downgrade mount from version 2: its versions and metadata would be lost; "+
			"mount version 1 at another path")
	}
	return nil, err
}
