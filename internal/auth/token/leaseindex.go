package token

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/storage"
)

// Leases are indexed by path: each token with a lease has an entry whose key carries the
// information,
//
//	auth/lease/<path that created it>/h<token's hash>
//	auth/lease-far/<token's hash>    if that key would be too long, or end in a slash
//
// Stores older than the index lack these entries. "auth/lease-index" marks a complete index. Until
// it exists Run builds the index, and a search for leases reads every token.
const (
	leasePrefix    = "auth/lease/"
	farLeasePrefix = "auth/lease-far/"
	leaseIndexKey  = "auth/lease-index"
)

// hasLease reports whether a token has a lease: see [Store.LeaseID].
func (t *Token) hasLease() bool { return t.Type != TypeBatch && !t.Expires.IsZero() }

func leaseID(t *Token, d digest) string { return t.Path + "/" + leaseLead + d.String() }

func leaseKey(t *Token, d digest) string {
	if key := leasePrefix + leaseID(t, d); storage.CheckKey(key) == nil {
		return key
	}
	return farLeasePrefix + d.String()
}

// leaseIndex searches tokens by the path of their lease.
type leaseIndex struct {
	records
	indexed atomic.Bool // every token with a lease is in the index
}

// isIndexed reports whether every token with a lease is in the index.
func (s *leaseIndex) isIndexed(ctx context.Context) (bool, error) {
	if s.indexed.Load() {
		return true, nil
	}
	switch _, err := s.entries.Get(ctx, leaseIndexKey); {
	case errors.Is(err, storage.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	s.indexed.Store(true)
	return true, nil
}

// index builds the index of an older store. A token created meanwhile is indexed at creation; one
// that ends meanwhile may leave an entry, which readers treat as a token that is gone.
func (s sweeper) index(ctx context.Context) error {
	if done, err := s.isIndexed(ctx); done || err != nil {
		return err
	}
	var ops []storage.Op
	flush := func(least int) error {
		if len(ops) < least {
			return nil
		}
		err := s.entries.Commit(ctx, storage.Batch{Ops: ops})
		ops = ops[:0]
		return err
	}
	err := s.each(ctx, tokenPrefix, func(name string) error {
		d, ok := parseDigest(name)
		if !ok {
			return nil
		}
		e, err := s.read(ctx, d)
		switch {
		case errors.Is(err, errDenied):
			return nil
		case err != nil:
			return err
		case e.token.hasLease():
			ops = append(ops, storage.Put(leaseKey(e.token, d), mark))
		}
		return flush(maxOps)
	})
	if err == nil {
		err = flush(1)
	}
	if err != nil {
		return err
	}
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(leaseIndexKey, mark)}})
}

// leasesIn calls f with the hashes of the tokens whose leases are in or below a folder of the
// index, named with a trailing slash, in batches. Some of the tokens may be gone. f may end them.
func (s *leaseIndex) leasesIn(ctx context.Context, folder string, f func([]digest) error) error {
	if storage.CheckPrefix(leasePrefix+folder) != nil {
		return nil // no key can have this prefix
	}
	return s.pages(ctx, leasePrefix+folder, func(names []string) error {
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				if err := s.leasesIn(ctx, folder+name, f); err != nil {
					return err
				}
			}
		}
		return f(digestsOf(names, leaseLead))
	})
}

// digestsOf parses the hashes in entry names.
func digestsOf(names []string, lead string) []digest {
	var out []digest
	for _, name := range names {
		if text, ok := strings.CutPrefix(name, lead); ok {
			if d, ok := parseDigest(text); ok {
				out = append(out, d)
			}
		}
	}
	return out
}

// pages calls f with the names directly below a prefix, in batches. f may delete them.
func (s records) pages(ctx context.Context, prefix string, f func(names []string) error) error {
	for after := ""; ; {
		names, err := s.entries.List(ctx, prefix, after, page)
		if err != nil || len(names) == 0 {
			return err
		}
		if err := f(names); err != nil || len(names) < page {
			return err
		}
		after = names[len(names)-1]
	}
}

// atOnce is how many clean-up commits are in flight together: they share the storage's flushes.
const atOnce = 64

// inParallel calls f with n items at a time from several goroutines. It stops at the first error
// and returns it.
func inParallel[T any](items []T, n int, f func([]T) error) error {
	switch {
	case len(items) == 0:
		return nil
	case len(items) <= n:
		return f(items)
	}
	var failed atomic.Pointer[error]
	var next atomic.Int64
	done := make(chan struct{})
	workers := min(atOnce, (len(items)+n-1)/n)
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for failed.Load() == nil {
				i := int(next.Add(1)-1) * n
				if i >= len(items) {
					return
				}
				if err := f(items[i:min(i+n, len(items))]); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		}()
	}
	for range workers {
		<-done
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
