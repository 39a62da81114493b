package token

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A lease ID is another name of a service token that expires: the path that created it, and "h"
// with the token's hash in hex.
//
//	auth/userpass/login/alice/h3b0c...

const leaseLead = "h"

// LeaseID returns a token's lease ID, or "" if it has none.
func (s *Store) LeaseID(who Identity) string {
	if who.entry == nil || who.entry.token.Type == TypeBatch || who.entry.token.Expires.IsZero() {
		return ""
	}
	return leaseID(who.entry.token, who.entry.digest)
}

// errLease means that a lease does not exist. Callers replace it with their own text.
var errLease = fault.New(fault.NotFound, "the lease does not exist")

// ByLease finds the token of a lease. An unknown or ended lease is a [fault.NotFound].
func (s *Store) ByLease(ctx context.Context, id string) (Identity, error) {
	id = strings.Trim(id, "/")
	i := strings.LastIndexByte(id, '/')
	name, ok := strings.CutPrefix(id[i+1:], leaseLead)
	d, valid := parseDigest(name)
	if i < 0 || !ok || !valid || hex.EncodeToString(d[:]) != name {
		return Identity{}, errLease
	}
	e, err := s.findDigest(ctx, d)
	if errors.Is(err, errDenied) || err == nil && (e.token.Path != id[:i] || e.token.Expires.IsZero()) {
		return Identity{}, errLease
	}
	if err != nil {
		return Identity{}, err
	}
	return e.identity, nil
}

// LeaseNames lists, in order, what is directly below a prefix ("auth/userpass/login/" or ""): lease
// names, and folders with a trailing slash. It returns at most limit names; more reports whether
// there are others.
func (s *Store) LeaseNames(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	indexed, err := s.isIndexed(ctx)
	if err != nil {
		return nil, false, err
	}
	seen := map[string]bool{}
	if indexed && storage.CheckPrefix(leasePrefix+prefix) == nil {
		if more, err = s.livingBelow(ctx, prefix, limit, seen); err != nil {
			return nil, false, err
		}
	}
	root := farLeasePrefix
	if !indexed {
		root = tokenPrefix
	}
	err = s.eachLease(ctx, root, prefix, func(e *entry) error {
		name, rest, deeper := strings.Cut(s.LeaseID(e.identity)[len(prefix):], "/")
		if deeper && rest != "" {
			name += "/"
		}
		if len(seen) >= limit && !seen[name] {
			more = true
			return nil
		}
		seen[name] = true
		return nil
	})
	return slices.Sorted(maps.Keys(seen)), more, err
}

// livingBelow reads the index. Folders are listed without a check: all leases in one may just have
// ended.
func (s *Store) livingBelow(ctx context.Context, prefix string, limit int, seen map[string]bool) (more bool,
	err error) {
	errEnough := errors.New("enough")
	err = s.pages(ctx, leasePrefix+prefix, func(names []string) error {
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				if _, err := s.ByLease(ctx, prefix+name); fault.Is(err, fault.NotFound) {
					continue
				} else if err != nil {
					return err
				}
			}
			if len(seen) >= limit {
				return errEnough
			}
			seen[name] = true
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// eachLease reads the tokens whose hashes are below root, and calls f with each valid one whose
// lease begins with prefix.
func (s *Store) eachLease(ctx context.Context, root, prefix string, f func(*entry) error) error {
	return s.each(ctx, root, func(name string) error {
		d, ok := parseDigest(name)
		if !ok {
			return nil
		}
		e, err := s.read(ctx, d) // bypasses the cache, which would lose its hot entries
		if err == nil && strings.HasPrefix(s.LeaseID(e.identity), prefix) && e.token.hasLease() {
			if err = s.living(ctx, e); err == nil {
				err = f(e)
			}
		}
		if errors.Is(err, errDenied) {
			return nil
		}
		return err
	})
}

// RevokePath ends every token whose lease begins with prefix, which ends in a slash, and that was
// created before the given time; the zero time means no bound. It can be interrupted and called
// again.
func (s *Store) RevokePath(ctx context.Context, prefix string, before time.Time) error {
	indexed, err := s.isIndexed(ctx)
	if err != nil {
		return err
	}
	root := farLeasePrefix
	if !indexed {
		root = tokenPrefix
	} else if err := s.leasesIn(ctx, prefix, func(some []digest) error {
		return inParallel(some, 1, func(one []digest) error { return s.revokeBefore(ctx, one[0], before) })
	}); err != nil {
		return err
	}
	return s.eachLease(ctx, root, prefix, func(e *entry) error { return s.revokeBefore(ctx, e.digest, before) })
}

func (s *Store) revokeBefore(ctx context.Context, d digest, before time.Time) error {
	if !before.IsZero() {
		if e, err := s.read(ctx, d); err == nil && e.token.Created.After(before) {
			return nil
		}
	}
	if err := s.revoke(ctx, d); !errors.Is(err, errDenied) {
		return err
	}
	return nil
}
