// Package approle is the auth method for machines, which log in with a role id and a secret id.
//
// It guarantees that a secret id is stored only as a salted hash (HMAC-SHA256 under a salt behind
// the barrier), so it cannot be read back; that one with limited uses is never used more often,
// even across crashes and concurrent logins; that a destroyed secret id, or one of a deleted role,
// is useless from the moment that the request is answered, even if a role of the same name is
// created again; and that neither the answer nor the work of a failed login reveals whether the
// role id exists.
//
// It does not guarantee that expired secret ids are removed from storage at once: logins,
// "tidy/secret-id" and the deletion of their role remove them.
//
// Stays compatible: the records and their keys: "role/<name>", "id/<hash of the role id>",
// "secret/<role's UUID>/<hash>", "accessor/<hash>", "gone/<role's UUID>" and "salt".
package approle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// Storage keys of the mount's entries.
const (
	rolePrefix     = "role/"     // + name
	idPrefix       = "id/"       // + hash of the role id: the role's name
	secretPrefix   = "secret/"   // + the role's UUID + "/" + hash of the secret id
	accessorPrefix = "accessor/" // + hash of the accessor: a pointer to its secret id
	gonePrefix     = "gone/"     // + the UUID of a deleted role whose secrets are still to be removed
	saltKey        = "salt"      // version u8 = 1 | 32 random bytes
)

const (
	saltVersion = 1
	saltSize    = 32
)

// New is the [mount.Factory] of the type "approle".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(method.Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "approle" with a given clock and source of
// randomness.
func Factory(o method.Options) mount.Factory {
	o = o.WithDefaults()
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		return &backend{store: store, now: o.Now, rnd: o.Rand}, nil
	}
}

type backend struct {
	store mount.Storage
	now   func() time.Time
	rnd   io.Reader

	salting sync.Mutex
	salt    []byte

	// locks serialise changes of a role and its secrets, by the first byte of its name's hash.
	locks [64]sync.Mutex
}

// Open implements [mount.UnauthenticatedPaths].
func (d *backend) Open(_ mount.Operation, path string) bool { return path == "login" }

// Alias implements [mount.AliasLookup] with the role id.
func (d *backend) Alias(_ context.Context, r *mount.Request) (string, error) {
	var id string
	err := field.Map(r.Data).Text("role_id", &id)
	return id, err
}

// FoldedName implements [mount.NameFolder].
func (d *backend) FoldedName(path string) (start, end int) {
	return method.NameAfter(path, "role/")
}

// Exists implements [mount.ExistenceChecker].
func (d *backend) Exists(ctx context.Context, path string) (bool, error) {
	name, ok := strings.CutPrefix(path, "role/")
	if !ok || strings.Contains(name, "/") {
		return true, nil
	}
	x, err := method.Load[role](ctx, d.store, rolePrefix+strings.ToLower(name))
	return x != nil, err
}

// Handle implements [mount.Backend].
func (d *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	first, rest, _ := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	switch {
	case r.Path == "login":
		return d.login(ctx, r)
	case r.Path == "tidy/secret-id":
		if !method.IsWrite(r.Operation) {
			return nil, method.ErrUnsupported
		}
		return d.tidy(ctx)
	case first == "role" && rest == "":
		if r.Operation != mount.List {
			return nil, method.ErrUnsupported
		}
		return method.Keys(ctx, d.store, rolePrefix)
	case first == "role":
		return d.role(ctx, r, rest)
	}
	return nil, method.ErrNoPath
}

func (d *backend) lock(name string) *sync.Mutex {
	sum := sha256.Sum256([]byte(name))
	return &d.locks[int(sum[0])%len(d.locks)]
}

// hash returns the storage name of a secret value.
func (d *backend) hash(ctx context.Context, purpose, text string) (string, error) {
	salt, err := d.salted(ctx)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(purpose + "\x00" + text))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// salted returns the salt, which is created on first use.
func (d *backend) salted(ctx context.Context) ([]byte, error) {
	d.salting.Lock()
	defer d.salting.Unlock()
	if d.salt != nil {
		return d.salt, nil
	}
	record, err := d.store.Get(ctx, saltKey)
	if errors.Is(err, storage.ErrNotFound) {
		record = make([]byte, 1+saltSize)
		record[0] = saltVersion
		if _, err := io.ReadFull(d.rnd, record[1:]); err != nil {
			return nil, err
		}
		b := storage.Batch{If: []storage.Condition{storage.IfAbsent(saltKey)},
			Ops: []storage.Op{storage.Put(saltKey, record)}}
		err = d.store.Commit(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	if len(record) != 1+saltSize || record[0] != saltVersion {
		return nil, fmt.Errorf("%w: the salt", method.ErrRecord)
	}
	d.salt = record[1:]
	return d.salt, nil
}
