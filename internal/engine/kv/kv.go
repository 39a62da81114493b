// Package kv is Vault's key-value secrets engine, versions 1 and 2.
//
// It guarantees, for both versions, that a read returns the value of the last acknowledged write,
// with numbers as they were written and keys in sorted order, and that a read does not decode the
// value. For version 2 it also guarantees that each change of a secret, data and metadata together,
// is one commit; that changes of one secret are serialised, so of two writers with the same
// check-and-set number one is refused; that a read of the current version costs one read of the
// barrier for values of at most 4 KiB, and two for larger ones; that a destroyed or evicted version
// can never be read again; and that a mount serves all its secrets during an upgrade from version
// 1.
//
// It does not guarantee check-and-set between two nodes that both believe they lead: the storage's
// fence does. A change that does not fit into one commit (destroying hundreds of versions at once)
// is decided in one commit and removed from storage in several.
//
// Stays compatible: the records, whose first byte is their version, and their keys: "v1/" and the
// path of a version 1 entry; "m/" and the path of a version 2 secret, "d/<id>/<number>" for values
// outside its record, "g/" for values still to be removed, "config", and "upgrade" during an
// upgrade.
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

// Options configure the backends.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// New is the [mount.Factory] of the type "kv".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "kv" with a given clock and source of randomness.
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
		if m.Type == "generic" && version != 1 {
			return nil, fault.New(fault.Invalid, "a mount of type generic has version 1 only; mount type kv with version 2")
		}
		if version == 2 {
			return newVersioned(store, o), nil
		}
		lease, _ := m.Config.Effective()
		return &plain{store: store, entries: entries, lease: int(lease), now: o.Now}, nil
	}
}

// NewFolder returns a version 1 engine for the entries below a prefix of the store, without leases.
// The cubbyhole uses it.
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
		return 0, fault.New(fault.Invalid, `options.version of a kv mount is %q; it must be "1" or "2"`, v)
	}
}

// Tune allows an upgrade to version 2: the same commit writes the mark that makes the new backend
// look for entries of version 1.
func (d *plain) Tune(_ context.Context, to mount.Entry) ([]storage.Op, error) {
	version, err := versionOf(to)
	if err != nil || version == 1 {
		return nil, err
	}
	return []storage.Op{storage.Put(upgradeKey, upgrade{started: d.now().UnixNano()}.marshal())}, nil
}

// Tune refuses a downgrade: version 1 has no place for versions and metadata.
func (d *versioned) Tune(_ context.Context, to mount.Entry) ([]storage.Op, error) {
	version, err := versionOf(to)
	if err == nil && version == 1 {
		err = fault.New(fault.Invalid, "cannot downgrade mount from version 2: its versions and metadata would be lost; "+
			"mount version 1 at another path")
	}
	return nil, err
}
