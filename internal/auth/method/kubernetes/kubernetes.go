// Package kubernetes is the auth method for pods: they log in with the token of their service
// account.
//
// It guarantees that a login succeeds only after the cluster's API server has accepted the token in
// a TokenReview and named the same service account, by name, namespace and UID, as the token; that
// the account and its namespace are bound to the role; that the token is for the role's audience,
// where the role has one, by its claim and by the review; that requests to the API server use TLS
// with a configured or the pod's own CA, have a deadline, follow no redirect and read a bounded
// response; and that no response and no log shows the token of a client or of the reviewer.
//
// The reviewer's token is the configured one, else the token of this server's own pod, else the
// client's. The two files of the pod are read at each login, because Kubernetes replaces them.
//
// It does not remember tokens: a client can log in with one until it expires. A role without an
// audience accepts tokens for any audience, as in Vault. There are no entities: alias_name_source
// is kept and returned, and changes no token.
//
// Stays compatible: the records at "config" and below "role/".
package kubernetes

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/mount"
)

const (
	configKey  = "config"
	rolePrefix = "role/"
)

// podFolder is where Kubernetes mounts the credentials of a pod.
const podFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// Options configure the method.
type Options struct {
	method.Options
	Folder string // of the pod's credentials; "": Kubernetes' default
}

// New is the [mount.Factory] of the type "kubernetes".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "kubernetes" with given options.
func Factory(o Options) mount.Factory {
	now := o.WithDefaults().Now
	folder := cmp.Or(o.Folder, podFolder)
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		return &backend{store: store, now: now, folder: folder}, nil
	}
}

type backend struct {
	store   mount.Storage
	now     func() time.Time
	folder  string
	writing sync.Mutex
}

// Open implements [mount.UnauthenticatedPaths].
func (d *backend) Open(_ mount.Operation, path string) bool { return path == "login" }

// FoldedName implements [mount.NameFolder].
func (d *backend) FoldedName(path string) (start, end int) { return method.NameAfter(path, "role/") }

// Exists implements [mount.ExistenceChecker].
func (d *backend) Exists(ctx context.Context, path string) (bool, error) {
	exists, known, err := method.Exists[role](ctx, d.store, path, "role/", rolePrefix)
	return exists || !known, err
}

// Handle implements [mount.Backend].
func (d *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	first, rest, _ := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	switch {
	case r.Path == "login":
		if !method.IsWrite(r.Operation) {
			return nil, method.ErrUnsupported
		}
		return d.login(ctx, r)
	case r.Path == "config":
		return d.config(ctx, r)
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
